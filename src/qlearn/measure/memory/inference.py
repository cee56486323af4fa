"""How much memory a model takes while it generates, and how fast memory lets it be.

All sizes are in bytes (GB = 1e9, GiB = 2**30). Counted from the architecture: the weights as they
are stored, scales included; the KV cache; what a forward pass holds at its widest. The allocator's
loss, the framework's code and a GPU's context come on top, so ask of a device only a share of what
it has (``usable``). Fine-tuning is counted in :mod:`qlearn.measure.memory.finetune`.

Sources: Pope et al. 2022 (arXiv 2211.05102) for the KV cache and why decoding is bound by memory;
Korthikanti et al. 2022 (arXiv 2205.05198) for how activations are counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING, Literal

from qlearn.measure.memory.architectures import Architecture, get_architecture
from qlearn.measure.memory.parts import (
    activation_pieces,
    cache_bytes,
    cache_slope,
    check_bits,
    check_phase,
    check_whole_bytes,
    float_bits,
    weight_bytes,
)
from qlearn.numerics.refuse import check_count, check_positive
from qlearn.numerics.scheme import QuantScheme

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

Phase = Literal["decode", "prefill"]
OVERHEAD = 1.2  # what rules of thumb multiply by


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of each part.

    Attributes:
        weights: all parameters, tied ones once.
        kv_cache: keys and values of all sequences, at the full context.
        activations: what a forward pass holds at its widest, logits included.
    """

    weights: int
    kv_cache: int
    activations: int

    @property
    def total(self) -> int:
        """All parts together."""
        return self.weights + self.kv_cache + self.activations


def estimate_memory(
    model: str | Architecture | PreTrainedConfig,
    bits_per_weight: float = 16,
    *,
    context: int = 4096,
    batch: int = 1,
    kv_bits: float | None = None,
    other_bits: float | None = None,
    activation_bits: int | None = None,
    phase: Phase = "decode",
) -> MemoryEstimate:
    """Count the bytes of generating text.

    Args:
        model: as :func:`qlearn.measure.memory.architectures.get_architecture` takes it.
        bits_per_weight: of the linear layers in the blocks, with scales, zero points and padding:
            see :func:`scheme_bits`, or a report's ``bits_per_weight``.
        context: tokens in the cache of each sequence, the prompt's included.
        batch: sequences at a time.
        kv_bits: of a number in the KV cache; see :func:`quantized_kv_bits`.
        other_bits: of all other parameters: embedding, output head, norms, biases.
        activation_bits: of a number in the forward pass.
        phase: ``"decode"``, a token a sequence a step; or ``"prefill"``, the whole context in one.

    Left out, ``kv_bits``, ``other_bits`` and ``activation_bits`` are 16, and 32 beside weights of
    more than 16 bits: a float32 model is float32 throughout, one of 4-bit weights keeps the rest
    in 16.

    Raises:
        ValueError: an unknown model or phase, bits that are none, a context or batch below 1.

    >>> memory = estimate_memory("llama-2-7b", bits_per_weight=4.156, context=4096, batch=1)
    >>> memory.weights, memory.kv_cache, memory.activations
    (3889105273, 2147483648, 200192)
    """
    sizes = get_architecture(model)
    bits = check_bits("bits_per_weight", bits_per_weight)
    check_count(context=context, batch=batch)
    check_phase(phase)
    floats = float_bits(bits, activation_bits, "activation_bits")
    width = check_whole_bytes("activation_bits", floats)
    tokens = batch * (context if phase == "prefill" else 1)
    pieces = activation_pieces(sizes, width, batch)
    return MemoryEstimate(
        weights=weight_bytes(sizes, bits, float_bits(bits, other_bits, "other_bits")),
        kv_cache=cache_bytes(sizes, float_bits(bits, kv_bits, "kv_bits"), context, batch),
        activations=max(tokens * slope + fixed for slope, fixed in pieces),
    )


def kv_bytes_per_token(model: str | Architecture | PreTrainedConfig, kv_bits: float = 16) -> int:
    """Bytes that one more token of one sequence adds to the cache, while all windows have room.

    Layers x KV heads x head size x 2 (keys and values) x bytes a number.

    >>> kv_bytes_per_token("llama-2-7b"), kv_bytes_per_token("llama-3-8b")
    (524288, 131072)
    """
    sizes = get_architecture(model)
    return ceil(cache_slope(sizes, check_bits("kv_bits", kv_bits), sizes.layers))


def quantized_kv_bits(
    bits: float, group_size: int = 64, scale_bits: float = 16, zero_bits: float = 16
) -> float:
    """Bits a number of a quantized KV cache takes with its scales and zero points.

    >>> quantized_kv_bits(4)
    4.5
    """
    scale, code = check_bits("scale_bits", scale_bits), check_bits("bits", bits)
    zero = check_bits("zero_bits", zero_bits) if zero_bits else Fraction(0)
    check_count(group_size=group_size)
    return float(code + (scale + zero) / group_size)


def scheme_bits(model: str | Architecture | PreTrainedConfig, scheme: QuantScheme) -> float:
    """Bits a weight that a scheme takes over a model's linear layers, each row's padding included.

    Of a counted model, whose layers' shapes aren't kept, that of a square layer.

    Raises:
        ValueError: where a group size does not divide the width of a layer.

    >>> from qlearn import QuantScheme
    >>> scheme_bits("llama-2-7b", QuantScheme(4, group_size=128))
    4.15625
    """
    sizes = get_architecture(model)
    if sizes.counted:
        return scheme.bits_per_weight((sizes.hidden, sizes.hidden))
    layers = [*sizes.attention_layers, *max(1, sizes.experts) * sizes.mlp_layers]
    stored = sum(scheme.stored_bits((outputs, inputs)) for inputs, outputs in layers)
    return sizes.layers * stored / sizes.linear_parameters


def largest_context(
    model: str | Architecture | PreTrainedConfig,
    device_memory_bytes: float,
    bits_per_weight: float = 16,
    *,
    batch: int = 1,
    kv_bits: float | None = None,
    other_bits: float | None = None,
    activation_bits: int | None = None,
    phase: Phase = "decode",
    usable: float = 1.0,
) -> int:
    """The most tokens a sequence may have so that everything fits; 0 where nothing does.

    Solved, not searched: every part is a line in the context, windows bend one and activations are
    the higher of two. A model may know fewer positions (``Architecture.context``), and one whose
    layers are all windowed has no end here: it is then given its own ``context``.

    Args:
        device_memory_bytes: what the device has.
        usable: the share of it that is free for the model: 1.0 is all. A desktop, a framework and
            the allocator's loss take their part; 0.9 is a common guess for a GPU that does nothing
            else.

    The others are those of :func:`estimate_memory`.

    Raises:
        ValueError: as :func:`estimate_memory`; memory that is not above 0; a share outside (0, 1].
    """
    sizes = get_architecture(model)
    bits = check_bits("bits_per_weight", bits_per_weight)
    check_positive("bytes", device_memory_bytes=device_memory_bytes)
    check_positive("shares", usable=usable)
    memory, share = Fraction(device_memory_bytes), Fraction(usable)
    if share > 1:
        raise ValueError(f"usable={usable!r} is more than all of it; give a share of up to 1.0")
    check_count(batch=batch)
    check_phase(phase)
    width = check_whole_bytes(
        "activation_bits", float_bits(bits, activation_bits, "activation_bits")
    )
    wide = float_bits(bits, kv_bits, "kv_bits")
    room = floor(memory * share)
    room -= weight_bytes(sizes, bits, float_bits(bits, other_bits, "other_bits"))
    full = batch * cache_slope(sizes, wide, sizes.layers - sizes.windowed)
    windowed = batch * cache_slope(sizes, wide, sizes.windowed)
    answers = []
    for slope, fixed in activation_pieces(sizes, width, batch):
        line, rest = full, room - fixed
        if phase == "prefill":
            line += batch * slope
        else:
            rest -= batch * slope
        within = _most(rest, line + windowed)
        beyond = _most(rest - windowed * sizes.window, line)
        # Where the window is full it costs no more; before that, it costs less than a full one.
        answers.append(within if beyond is not None and beyond <= sizes.window else beyond)
    known = [answer for answer in answers if answer is not None]
    return min(known) if known else sizes.context or sizes.window


def _most(room: Fraction | int, line: Fraction) -> int | None:
    """The most tokens at ``line`` bytes each; ``None``: any number."""
    if room < 0:
        return 0
    return floor(Fraction(room) / line) if line else None


def step_bytes(
    model: str | Architecture | PreTrainedConfig,
    bits_per_weight: float = 16,
    *,
    context: int = 4096,
    batch: int = 1,
    kv_bits: float | None = None,
    other_bits: float | None = None,
) -> int:
    """Bytes that one decoding step has to read: weights once, and every sequence's cache.

    Of the embedding a step reads a row a sequence, so it doesn't count, unless the output head is
    tied to it; nor do learned positions. Of a mixture only the experts count that some sequence's
    router picked
    (:meth:`~qlearn.measure.memory.architectures.Architecture.linear_parameters_read`).
    """
    sizes = get_architecture(model)
    bits = check_bits("bits_per_weight", bits_per_weight)
    check_count(context=context, batch=batch)
    looked_up = sizes.positions * sizes.hidden
    looked_up += 0 if sizes.tied else sizes.embedding_parameters
    others = (sizes.other_parameters - looked_up) * float_bits(bits, other_bits, "other_bits")
    weights = ceil((Fraction(sizes.linear_parameters_read(batch)) * bits + others) / 8)
    return weights + cache_bytes(sizes, float_bits(bits, kv_bits, "kv_bits"), context, batch)


def decode_speed_bound(
    model: str | Architecture | PreTrainedConfig,
    bandwidth: float,
    bits_per_weight: float = 16,
    *,
    context: int = 4096,
    batch: int = 1,
    kv_bits: float | None = None,
    other_bits: float | None = None,
) -> float:
    """Tokens a second, of all sequences together, that the memory's bandwidth allows.

    No step can be faster than its bytes arrive; arithmetic and launching kernels only add to it, so
    this is an upper bound, and a useless one for large batches, which arithmetic bounds.

    Args:
        bandwidth: bytes a second.

    The others are those of :func:`estimate_memory`; ``context`` is what the cache holds already.

    Raises:
        ValueError: as :func:`estimate_memory`, or a bandwidth that is not above 0.
    """
    check_positive("bytes a second", bandwidth=bandwidth)
    speed = Fraction(bandwidth)
    read = step_bytes(
        model,
        bits_per_weight,
        context=context,
        batch=batch,
        kv_bits=kv_bits,
        other_bits=other_bits,
    )
    return float(batch * speed / read)


def article_estimate(parameters: float, bits: float, overhead: float = OVERHEAD) -> float:
    """Bytes by the rule of thumb: parameters x bytes x 1.2.

    With ``overhead=1`` it is the plain product, which the rule's own examples often give.

    >>> article_estimate(7e9, 4, overhead=1) / 1e9
    3.5
    """
    check_positive("parameters", parameters=parameters)
    check_positive("times", overhead=overhead)
    count, times = Fraction(parameters), Fraction(overhead)
    return float(count * times * check_bits("bits", bits) / 8)

"""The parts of a model's memory while it generates: weights, KV cache, activations.

Exact arithmetic on whole numbers and fractions; bytes are rounded up, once a part.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, isfinite
from numbers import Real
from typing import Any

from qlearn.measure.memory.sizes import Architecture

PHASES = ("decode", "prefill")
STEPPED = ("gpt2", "phi")  # families whose activation is "gelu_new": several operations
WIDEST = 64  # bits of a number, at the most


def float_bits(bits_per_weight: Fraction, bits: float | None, name: str) -> Fraction:
    """Bits of what is not quantized: as given, or 16, and 32 beside weights of more than 16."""
    if bits is None:
        return Fraction(16 if bits_per_weight <= 16 else 32)
    return check_bits(name, bits)


def weight_bytes(sizes: Architecture, bits: Fraction, other_bits: Fraction) -> int:
    """Linear layers in the blocks at ``bits``, all other parameters at ``other_bits``."""
    return ceil((sizes.linear_parameters * bits + sizes.other_parameters * other_bits) / 8)


def cache_slope(sizes: Architecture, kv_bits: Fraction, layers: int) -> Fraction:
    """Bytes of one token's keys and values in so many layers."""
    return 2 * layers * sizes.kv_width * kv_bits / 8


def cache_bytes(sizes: Architecture, kv_bits: Fraction, context: int, batch: int) -> int:
    """Keys and values of ``batch`` sequences; a windowed layer keeps ``window`` tokens at most."""
    full = cache_slope(sizes, kv_bits, sizes.layers - sizes.windowed) * context
    windowed = cache_slope(sizes, kv_bits, sizes.windowed) * min(context, sizes.window)
    return ceil(batch * (full + windowed))


def activation_pieces(sizes: Architecture, bits: int, batch: int) -> list[tuple[int, int]]:
    """``(bytes a token of the step, bytes besides)``; activations are the larger of the two.

    In a block, a token, there are four vectors of the width ``hidden`` (the embeddings, which
    transformers keeps to the end, the block's input, the residual stream and its normed copy) and
    those of the MLP, of attention or of a norm, whichever are more. The MLP: gate, up and their
    product (3 ``mlp``), one more where gate and up are one layer, 2 without a gate, 4 where the
    activation is computed in steps; in a mixture for each expert that the router picks. Attention,
    of the fused kind that keeps no table of scores: queries, keys and values, rotated, and the
    output. A norm of 16-bit numbers computes in float32 (4 ``hidden``). After the blocks: the
    hidden states, and each sequence's logits for its last token, once as computed and once in
    float32.
    """
    width = bits // 8
    attention = 2 * sizes.query_width + 2 * sizes.kv_width
    norm = 4 * sizes.hidden if width < 4 else 0
    block = width * (4 * sizes.hidden + max(_mlp_vectors(sizes) * sizes.mlp, attention, norm))
    return [(block, 0), (width * sizes.hidden, batch * sizes.vocab * (width + 4))]


def _mlp_vectors(sizes: Architecture) -> int:
    """How many vectors of the MLP's width exist at a time, a token."""
    if not sizes.gated:
        return 4 if sizes.family in STEPPED else 2
    fused = sizes.fused_gate or sizes.experts > 0  # transformers keeps experts' gate and up as one
    return (4 if fused else 3) * max(1, sizes.experts_per_token)


def check_bits(name: str, bits: Any) -> Fraction:
    """Bits of a number as an exact fraction.

    Raises:
        ValueError: not a number above 0 and up to 64.
    """
    ordinary = isinstance(bits, Real) and not isinstance(bits, bool)
    if not ordinary or not isfinite(float(bits)) or not 0 < float(bits) <= WIDEST:
        raise ValueError(
            f"{name}={bits!r} is no number of bits; give one above 0 and up to {WIDEST}, "
            "scales and zero points included, such as 4.5"
        )
    return Fraction(str(float(bits)))  # 4.156 as it is written


def check_whole_bytes(name: str, bits: Fraction) -> int:
    """Bits of a float as an integer.

    Raises:
        ValueError: not a multiple of 8.
    """
    if bits.denominator != 1 or int(bits) % 8:
        raise ValueError(f"{name}={float(bits)} is no width of floats; give 8, 16 or 32")
    return int(bits)


def check_phase(phase: object) -> None:
    """Raise a ValueError for anything but a phase's name."""
    if phase not in PHASES:
        raise ValueError(f"phase={phase!r} is not known; choose 'decode' or 'prefill'")

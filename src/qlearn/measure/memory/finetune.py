"""Where the memory goes when a model is fine-tuned: counted, not measured.

Sizes are in bytes (GB = 1e9). Four parts: the base's weights, the gradients of what is trained, the
optimizer's state for it, and what the forward pass keeps for the backward one. LoRA leaves the
first and shrinks the next two; QLoRA shrinks the first as well.

Sources: QLoRA (arXiv 2305.14314) for the 4-bit base and paged optimizers; Korthikanti et al. 2022
(arXiv 2205.05198) for how activations are counted, and Chen et al. 2016 (arXiv 1604.06174) for
recomputing them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qlearn.measure.memory.architectures import Architecture, get_architecture
from qlearn.numerics.refuse import check_count

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)  # code, 8-bit absmax a block of 64, its float32 scale
METHODS = ("full, 32 bit", "full, mixed", "LoRA", "QLoRA")
ADAM = 8  # bytes a trained parameter: two float32 moments


# Those that the papers fine-tune, by the papers' names.
ARCHITECTURES = {
    one.title: replace(one, name=one.title)
    for one in map(
        get_architecture, ("llama-7b", "llama-13b", "llama-33b", "llama-65b", "llama-2-70b")
    )
}


@dataclass(frozen=True)
class FinetuneMemory:
    """Bytes of each part.

    Attributes:
        weights: of the base.
        adapters: of LoRA's matrices; 0 in full fine-tuning.
        gradients: of all that is trained.
        optimizer: AdamW's two moments, and float32 master weights where they are kept.
        activations: kept for the backward pass, logits included.
    """

    weights: int
    adapters: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All parts together. The allocator's own loss and the CUDA context come on top."""
        return self.weights + self.adapters + self.gradients + self.optimizer + self.activations


def finetune_memory(
    model: str | Architecture | PreTrainedConfig,
    method: str,
    *,
    rank: int = 64,
    tokens: int = 512,
    checkpointing: bool = True,
    master_weights: bool = False,
) -> FinetuneMemory:
    """Count the bytes of one training step with AdamW.

    Args:
        model: as :func:`qlearn.measure.memory.architectures.get_architecture` takes it: a name such
            as ``"LLaMA 65B"``, sizes of your own, or a transformers configuration.
        method: ``"full, 32 bit"`` (everything in float32), ``"full, mixed"`` (weights and gradients
            in 16 bit, moments in float32), ``"LoRA"`` (16-bit base; adapters and their gradients in
            16 bit, moments in float32) or ``"QLoRA"`` (the same over a base of NF4 with double
            quantization; embedding, head and norms in 16 bit).
        rank: of the adapters, which stand on every linear layer of every block.
        tokens: in one step: batch times length.
        checkpointing: keep the inputs of the blocks alone and compute the rest again.
        master_weights: keep a float32 copy of all that is trained in 16 bit, as classic mixed
            precision does.

    Raises:
        ValueError: for an unknown model or method, or a rank or number of tokens below 1.

    >>> round(finetune_memory("LLaMA 65B", "QLoRA").weights / 1e9, 1)
    34.5
    """
    sizes = get_architecture(model)
    if method not in METHODS:
        raise ValueError(f"method={method!r} is not known; choose {', '.join(map(repr, METHODS))}")
    check_count(rank=rank, tokens=tokens)
    full = method.startswith("full")
    width = 4 if method == "full, 32 bit" else 2
    trained = sizes.parameters if full else sizes.adapter_parameters(rank)
    if method == "QLoRA":
        weights = round(sizes.linear_parameters * NF4_BITS / 8) + 2 * sizes.other_parameters
    else:
        weights = width * sizes.parameters
    return FinetuneMemory(
        weights=weights,
        adapters=0 if full else width * trained,
        gradients=width * trained,
        optimizer=(ADAM + (4 if master_weights and width == 2 else 0)) * trained,
        activations=activation_bytes(sizes, tokens, width, checkpointing),
    )


def activation_bytes(
    model: str | Architecture | PreTrainedConfig,
    tokens: int,
    width: int = 2,
    checkpointing: bool = True,
) -> int:
    """What the forward pass keeps for the backward one.

    A block keeps, a token: the inputs and outputs of both norms, queries, the attention's output
    (6 ``hidden`` in all, where queries are as wide as that), keys and values, and four vectors of
    the MLP's width: gate, up, the activation of gate, and its product with up; without a gate two,
    and in a mixture for each expert that the router picks. Attention is the fused kind, which keeps
    no table of scores. With checkpointing only the input of each block is kept, and one block's
    vectors exist at a time. Logits come on top once in ``width`` and once in float32, for the loss.

    Args:
        width: bytes a number.
    """
    sizes = get_architecture(model)
    mlp = (4 if sizes.gated else 2) * max(1, sizes.experts_per_token) * sizes.mlp
    block = 4 * sizes.hidden + 2 * sizes.query_width + 2 * sizes.kv_width + mlp
    kept = sizes.layers * sizes.hidden + block if checkpointing else sizes.layers * block
    return tokens * (width * (kept + sizes.hidden) + (width + 4) * sizes.vocab)

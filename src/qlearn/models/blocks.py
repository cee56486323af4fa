"""Where a model keeps its transformer blocks, and which layers in them are linear.

A transformer block is a decoder layer: attention and an MLP. Its linear layers hold most of a
model's weights, so they are what the quantizers of this package work on; embeddings, norms and the
output head are left as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qlearn.models.layers.base import CodesLinear


def is_linear(module: nn.Module) -> bool:
    """Whether ``module`` is an ``nn.Linear`` or GPT-2's ``Conv1D``, a linear layer turned over."""
    return isinstance(module, nn.Linear) or _is_conv1d(module)


def _is_conv1d(module: nn.Module) -> bool:
    # By name, so that transformers is not imported for it.
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf")


def weight_of(linear: nn.Module) -> Tensor:
    """The weight of a linear layer as ``[out_features, in_features]``; a view for ``Conv1D``.

    Raises:
        ValueError: for a module that is not a linear layer.
    """
    if not is_linear(linear):
        raise ValueError(
            f"linear={type(linear).__name__} is not a linear layer; pass an nn.Linear or a Conv1D"
        )
    weight = linear.weight
    assert isinstance(weight, Tensor)
    return weight.T if _is_conv1d(linear) else weight


def replace_weight(linear: nn.Module, weight: Tensor) -> None:
    """Give a linear layer another weight ``[out_features, in_features]``.

    The tensor it had is left alone: a copy of the model may share it.
    """
    weight = weight.T.contiguous() if _is_conv1d(linear) else weight
    linear.weight = nn.Parameter(weight, requires_grad=False)


def find_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The transformer blocks of ``model``: their dotted name and the list that holds them.

    That list is the longest ``nn.ModuleList`` with linear layers inside, lists within lists (the
    experts of a mixture) not counted. A model with an encoder and a decoder gives its decoder's.

    Raises:
        ValueError: where there is no such list.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model={model!r:.40} is not a model; pass one such as load_model returns")
    decoder = _decoder(model)
    best: tuple[tuple[bool, int], str, nn.ModuleList] | None = None
    lists: list[str] = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or any(name.startswith(f"{o}.") for o in lists):
            continue
        lists.append(name)
        if not any(is_linear(m) or _is_quantized(m) for m in module.modules()):
            continue
        rank = (module in decoder, len(module))
        if best is None or rank > best[0]:
            best = rank, name, module
    if best is None:
        raise ValueError(
            f"model={type(model).__name__} holds no transformer blocks (no nn.ModuleList with "
            "linear layers); pass a decoder such as load_model returns"
        )
    return best[1], best[2]


def _decoder(model: nn.Module) -> set[nn.Module]:
    """All modules of the decoder, where the model can name one."""
    get_decoder = getattr(model, "get_decoder", None)
    decoder = get_decoder() if callable(get_decoder) else None
    return set(decoder.modules()) if isinstance(decoder, nn.Module) else set()


def _is_quantized(module: nn.Module) -> bool:
    return isinstance(module, CodesLinear)


def linear_layers(module: nn.Module, prefix: str = "") -> dict[str, nn.Module]:
    """The linear layers inside ``module`` by dotted name, in the model's own order.

    A layer that stands in two places is listed under both names.
    """
    return {
        f"{prefix}{name}": layer
        for name, layer in module.named_modules(remove_duplicate=False)
        if is_linear(layer)
    }


def block_linears(model: nn.Module) -> dict[str, nn.Module]:
    """The linear layers inside ``model``'s transformer blocks, by their name in the model.

    Raises:
        ValueError: where there are no transformer blocks.
    """
    name, blocks = find_blocks(model)
    return linear_layers(blocks, f"{name}." if name else "")


def set_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put ``module`` where ``model`` has the submodule of that dotted name."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def input_vocabulary(model: nn.Module) -> int | None:
    """How many token ids the model has an embedding for; ``None`` where that is not known."""
    get_embeddings = getattr(model, "get_input_embeddings", None)
    embeddings = get_embeddings() if callable(get_embeddings) else None
    return getattr(embeddings, "num_embeddings", None)


def longest_row(model: nn.Module) -> int | None:
    """How many positions the model knows; ``None`` where that is not known."""
    longest = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    return longest if isinstance(longest, int) and longest > 0 else None


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters are."""
    tensor = next(model.parameters(), None)
    return torch.device("cpu") if tensor is None else tensor.device

"""What can be refused before a layer is touched: layers, calibration tokens, weights."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch

import torch
from torch import Tensor, nn

from qlearn.models.blocks import block_linears
from qlearn.models.layers.base import CodesLinear
from qlearn.numerics.codebook import CodebookScheme
from qlearn.numerics.scheme import QuantScheme


def select_layers(model: nn.Module, skip: Iterable[str]) -> dict[str, nn.Module]:
    """The layers to quantize, by name.

    Raises:
        ValueError: for a model that is quantized already, or a ``skip`` that matches nothing or
            leaves nothing.
    """
    layers = block_linears(model)
    for name, module in model.named_modules():
        if isinstance(module, CodesLinear):
            raise ValueError(
                f"model is already quantized ({name}); load it again, or quantize a "
                "copy_for_quantization(original)"
            )
    patterns = list(skip)
    if isinstance(skip, str) or not all(isinstance(pattern, str) for pattern in patterns):
        raise ValueError(f'skip={skip!r} is not a list of names; pass one such as ("down_proj",)')
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in layers):
            kinds = sorted({name.rpartition(".")[2] for name in layers})
            raise ValueError(
                f"skip={pattern!r} matches no linear layer; choose a name such as "
                f"{next(iter(layers))!r}, or one of {', '.join(kinds)}"
            )
    chosen = {n: m for n, m in layers.items() if not any(_matches(n, p) for p in patterns)}
    if not chosen:
        raise ValueError(f"skip={tuple(patterns)} leaves no layer to quantize; skip fewer")
    return chosen


def _matches(name: str, pattern: str) -> bool:
    return fnmatch(name, pattern) or name.rpartition(".")[2] == pattern


def check_scheme(scheme: QuantScheme) -> None:
    """Raise a ``ValueError`` for something else than a scheme."""
    if not isinstance(scheme, QuantScheme):
        raise ValueError(
            f"scheme={scheme!r} is not a QuantScheme; pass one such as "
            "QuantScheme(bits=4, group_size=64)"
        )


def check_calibration(tokens: Tensor | None, method: str, *, needed: bool) -> None:
    """Raise a ``ValueError`` for no tokens where the method needs them, or for no tensor."""
    if tokens is None and needed:
        raise ValueError(
            f"calibration=None, but method={method!r} looks at activations; pass tokens such as "
            'load_tokens(tokenizer, split="calibration")'
        )
    if tokens is None or (
        isinstance(tokens, Tensor)
        and tokens.dim() == 2
        and tokens.numel()
        and tokens.dtype in (torch.int32, torch.int64)
    ):
        return
    raise ValueError(
        f"calibration={type(tokens).__name__} is not a tensor of tokens; pass integers "
        "[rows, length], as load_tokens returns, or None"
    )


def check_layer(name: str, weight: Tensor, scheme: QuantScheme | CodebookScheme) -> None:
    """Raise a ``ValueError`` for a layer that is not loaded, does not fit, or is not finite."""
    if weight.is_meta or not weight.is_floating_point():
        state = "not loaded (meta device)" if weight.is_meta else f"of dtype {weight.dtype}"
        raise ValueError(
            f"layer {name!r} has weights {state}; pass a model with its float weights in memory, "
            "not quantized by another library"
        )
    try:
        scheme.stored_bits(tuple(weight.shape))
    except ValueError as error:
        raise ValueError(f"layer {name!r} does not fit scheme={scheme}: {error}") from None
    extremes = torch.stack(torch.aminmax(weight.detach()))
    if isinstance(scheme, CodebookScheme):
        extremes = extremes.float()
    if not bool(torch.isfinite(extremes).all()):
        narrow = weight.float() if isinstance(scheme, CodebookScheme) else weight
        bad = int((~torch.isfinite(narrow)).sum())
        raise ValueError(
            f"layer {name!r} holds {bad} NaN or infinite weights; load the model again, "
            f"or leave the layer out with skip=({name!r},)"
        )
    if isinstance(scheme, CodebookScheme) and scheme.double_quant:
        blocks = -(-weight.numel() // scheme.block_size)
        if float(extremes.abs().max()) > torch.finfo(torch.float32).max / blocks:
            raise ValueError(
                f"layer {name!r} has weights too large for the mean of their absmax; "
                "pass double_quant=False"
            )

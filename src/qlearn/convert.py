"""quantize_model: every linear layer in a model's transformer blocks becomes a quantized one.

Everything that can be refused is refused before the first layer is touched, and at no time does
more than one layer exist as floats and as codes at once.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init
from tqdm.auto import tqdm

from qlearn.affine import QuantizedTensor, quantize
from qlearn.blocks import block_linears, set_module, weight_of
from qlearn.layers import QuantizedLinear
from qlearn.report import LayerReport, QuantizationReport, model_bits, stored_bytes
from qlearn.scheme import QuantScheme

__all__ = [
    "METHODS",
    "LayerReport",
    "QuantizationReport",
    "copy_for_quantization",
    "dequantize_model",
    "dequantized",
    "quantize_model",
]

# A method turns one layer's weight [out_features, in_features] into codes.
METHODS: dict[str, Callable[[Tensor, QuantScheme], QuantizedTensor]] = {"rtn": quantize}
_DEFAULT_SCHEME = QuantScheme(bits=4, symmetric=False, group_size=64)


def quantize_model(
    model: nn.Module,
    method: str = "rtn",
    scheme: QuantScheme = _DEFAULT_SCHEME,
    calibration: Tensor | None = None,
    progress: bool = True,
    skip: Iterable[str] = (),
) -> QuantizationReport:
    """Quantize the linear layers of all transformer blocks, in place.

    Embeddings, norms and the output head keep their floats.

    Args:
        model: a decoder whose layers are still float.
        method: ``"rtn"``, round to nearest.
        scheme: bits, symmetry and group size.
        calibration: tokens long ``[rows, length]`` for methods that look at activations; RTN
            needs none and does not use them.
        progress: show a progress bar.
        skip: names of layers to leave as they are: whole dotted names, their last part, or
            patterns such as ``"*.mlp.*"``.

    Returns:
        What it took and what came of it, layer by layer.

    Raises:
        ValueError: for an unknown method, something else than a scheme, a model without
            transformer blocks or already quantized, a layer that the scheme does not fit or that
            holds NaN or infinite weights, a ``skip`` that matches nothing. The model is unchanged.
    """
    start = time.perf_counter()
    if method not in METHODS:
        raise ValueError(
            f"method={method!r} is not available; choose {' or '.join(map(repr, METHODS))}"
        )
    if not isinstance(scheme, QuantScheme):
        raise ValueError(
            f"scheme={scheme!r} is not a QuantScheme; pass one such as "
            "QuantScheme(bits=4, group_size=64)"
        )
    _check_calibration(calibration)
    layers = _select(model, skip)
    for name, layer in layers.items():
        _check_layer(name, weight_of(layer), scheme)
    reports = []
    done: dict[nn.Module, QuantizedLinear] = {}  # a layer that stands in two places stays one
    bar = tqdm(total=len(layers), desc=f"{method} {scheme}", unit="layer", disable=not progress)
    with bar, torch.no_grad():
        for name in list(layers):
            layer = layers.pop(name)  # so that the last reference to its floats goes with it
            if layer not in done:
                weight = weight_of(layer)
                new = QuantizedLinear(METHODS[method](weight, scheme), getattr(layer, "bias", None))
                new.train(layer.training)
                reports.append(_measure(name, weight, new))
                del weight
                if layer in layers.values():
                    done[layer] = new
            else:
                new = done[layer]
            set_module(model, name, new)
            del layer
            bar.update()
    weights = sum(report.weights for report in reports)
    return QuantizationReport(
        method=method,
        scheme=scheme,
        seconds=time.perf_counter() - start,
        bits_per_weight=8 * sum(report.bytes for report in reports) / weights,
        model_bits_per_weight=model_bits(model),
        bytes=stored_bytes(model),
        layers=tuple(reports),
    )


def copy_for_quantization(model: nn.Module) -> nn.Module:
    """A copy of ``model`` to quantize beside it: new modules around the very same tensors.

    It costs next to no memory, since quantizing replaces layers and leaves their tensors alone.
    Whatever writes *into* a tensor (training, for one) changes both models.
    """
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    return copy.deepcopy(model, shared)


def dequantize_model(model: nn.Module) -> nn.Module:
    """Turn every quantized layer into an ``nn.Linear`` of the values it stands for, in place.

    The model computes the same, faster, and takes as much memory as before it was quantized.

    Returns:
        ``model`` itself.

    Raises:
        ValueError: where no layer is quantized.
    """
    for name, layer in _quantized_layers(model):
        set_module(model, name, _as_linear(layer))
    return model


@contextmanager
def dequantized(model: nn.Module) -> Iterator[nn.Module]:
    """:func:`dequantize_model` for the length of a ``with`` block; the codes come back after it."""
    layers = _quantized_layers(model)
    try:
        yield dequantize_model(model)
    finally:
        for name, layer in layers:
            set_module(model, name, layer)


def _quantized_layers(model: nn.Module) -> list[tuple[str, QuantizedLinear]]:
    modules = model.named_modules(remove_duplicate=False)
    layers = [(name, module) for name, module in modules if isinstance(module, QuantizedLinear)]
    if not layers:
        raise ValueError(
            f"model={type(model).__name__} holds no quantized layer; call quantize_model first"
        )
    return layers


def _as_linear(layer: QuantizedLinear) -> nn.Linear:
    linear: nn.Linear = skip_init(nn.Linear, 1, 1, bias=False)  # its tensors are replaced at once
    linear.in_features, linear.out_features = layer.in_features, layer.out_features
    linear.weight = nn.Parameter(layer.dequantize(), requires_grad=False)
    linear.bias = layer.bias
    return linear.train(layer.training)


def _select(model: nn.Module, skip: Iterable[str]) -> dict[str, nn.Module]:
    """The layers to quantize, by name."""
    layers = block_linears(model)
    for name, module in model.named_modules():
        if isinstance(module, QuantizedLinear):
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


def _check_calibration(tokens: Tensor | None) -> None:
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


def _check_layer(name: str, weight: Tensor, scheme: QuantScheme) -> None:
    if weight.is_meta or not weight.is_floating_point():
        state = "not loaded (meta device)" if weight.is_meta else f"of dtype {weight.dtype}"
        raise ValueError(
            f"layer {name!r} has weights {state}; pass a model with its float weights in memory, "
            "not quantized by another library"
        )
    try:
        scheme.grid_shape(tuple(weight.shape))
    except ValueError as error:
        raise ValueError(f"layer {name!r} does not fit scheme={scheme}: {error}") from None
    if not all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(weight)):
        bad = int((~torch.isfinite(weight)).sum())
        raise ValueError(
            f"layer {name!r} holds {bad} NaN or infinite weights; load the model again, "
            f"or leave the layer out with skip=({name!r},)"
        )


def _measure(name: str, weight: Tensor, layer: QuantizedLinear) -> LayerReport:
    """The error of a quantized layer, some rows at a time."""
    signal = noise = largest = 0.0
    for rows, approximation in layer.weight_chunks(torch.float32):
        exact = weight[rows].to(torch.float32)
        error = approximation.sub_(exact)  # the chunk is ours to write to
        signal += float(exact.square().sum(dtype=torch.float64))
        noise += float(error.square().sum(dtype=torch.float64))
        largest = max(largest, float(error.abs().max()))
    return LayerReport.of(name, layer, signal, noise, largest)

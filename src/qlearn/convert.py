"""quantize_model: every linear layer in a model's transformer blocks becomes a quantized one.

Everything that can be refused is refused before the first layer is touched, and at no time does
more than one layer (one block, for the calibrated methods) exist as floats and as codes at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from qlearn.blocks import set_module, weight_of
from qlearn.convert_checks import check_calibration, check_layer, check_scheme, select_layers
from qlearn.copies import copy_for_quantization, dequantize_model, dequantized
from qlearn.housekeeping import free_memory
from qlearn.layers import QuantizedLinear
from qlearn.methods import METHODS, options_of
from qlearn.report import LayerReport, QuantizationReport, measure, model_bits, stored_bytes
from qlearn.resume import Progress, describe
from qlearn.scheme import QuantScheme
from qlearn.sequential import BlockMethod, quantize_blocks

__all__ = [
    "METHODS",
    "LayerReport",
    "QuantizationReport",
    "copy_for_quantization",
    "dequantize_model",
    "dequantized",
    "quantize_model",
]

_DEFAULT_SCHEME = QuantScheme(bits=4, symmetric=False, group_size=64)


def quantize_model(
    model: nn.Module,
    method: str = "rtn",
    scheme: QuantScheme = _DEFAULT_SCHEME,
    calibration: Tensor | None = None,
    progress: bool = True,
    skip: Iterable[str] = (),
    resume: str | os.PathLike[str] | None = None,
    **options: object,
) -> QuantizationReport:
    """Quantize the linear layers of all transformer blocks, in place.

    Embeddings and the output head keep their floats, and so do the norms, which AWQ rescales.

    Args:
        model: a decoder whose layers are still float.
        method: ``"rtn"``, round to nearest; ``"gptq"``, later columns make good the errors of
            earlier ones; ``"awq"``, columns of large inputs are enlarged before they are rounded.
        scheme: bits, symmetry and group size.
        calibration: tokens ``[rows, length]`` for the methods that look at activations, such as
            ``load_tokens(tokenizer, split="calibration")``; RTN does not use them.
        progress: show a progress bar.
        skip: names of layers to leave as they are: whole dotted names, their last part, or
            patterns such as ``"*.mlp.*"``.
        resume: a folder in which finished blocks are kept (``None`` keeps none). The same call
            after an interruption, with the original model, goes on from there.
        options: of the method, see :data:`qlearn.methods.METHODS`: for GPTQ those of
            :func:`qlearn.gptq.gptq_quantize`; for AWQ ``clipping`` and ``rounding``, and with
            ``rounding="gptq"`` those of GPTQ too.

    Returns:
        What it took and what came of it, layer by layer.

    Raises:
        ValueError: for an unknown method or option, something else than a scheme, a model without
            transformer blocks or already quantized, a layer that the scheme does not fit or that
            holds NaN or infinite weights, a ``skip`` that matches nothing, a missing calibration,
            a ``resume`` folder that belongs to another run. The model is unchanged.
        OSError: for a ``resume`` folder that can't be written, or a damaged file in it.
    """
    start = time.perf_counter()
    if method not in METHODS:
        raise ValueError(
            f"method={method!r} is not available; choose {' or '.join(map(repr, METHODS))}"
        )
    settings = options_of(method, options)
    check_scheme(scheme)
    check_calibration(calibration, method, needed=METHODS[method].calibrated)
    layers = select_layers(model, skip)
    for name, layer in layers.items():
        check_layer(name, weight_of(layer), scheme)
    run_block = METHODS[method].run
    kept = None
    if resume is not None:
        if run_block is None:
            raise ValueError(
                f"resume={str(resume)!r} is not used by method={method!r}, which takes seconds; "
                "leave it out"
            )
        run = describe(model, method, scheme, settings, list(layers), calibration)
        kept = Progress(resume, run)
    free_memory()  # from here on what each layer or block frees is given back, not kept
    with torch.no_grad():
        if run_block is None or calibration is None:
            reports = _round_layers(model, layers, scheme, progress)
        else:
            names = list(layers)
            layers.clear()  # so that the floats of a finished block are freed
            task = BlockMethod(method, run_block, scheme, settings)
            reports = quantize_blocks(model, names, task, calibration, kept, progress)
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


def _round_layers(
    model: nn.Module, layers: dict[str, nn.Module], scheme: QuantScheme, progress: bool
) -> list[LayerReport]:
    """Round each layer to nearest; ``layers`` is used up."""
    reports = []
    done: dict[nn.Module, QuantizedLinear] = {}  # a layer that stands in two places stays one
    bar = tqdm(total=len(layers), desc=f"rtn {scheme}", unit="layer", disable=not progress)
    with bar:
        for name in list(layers):
            layer = layers.pop(name)  # so that the last reference to its floats goes with it
            if layer not in done:
                new = QuantizedLinear.from_linear(layer, scheme).train(layer.training)
                reports.append(measure(name, weight_of(layer), new))
                if layer in layers.values():
                    done[layer] = new
            else:
                new = done[layer]
            set_module(model, name, new)
            del layer
            bar.update()
    return reports

"""quantize_model: every linear layer in a model's transformer blocks becomes a quantized one.

Everything that can be refused is refused before the first layer is touched, and at no time does
more than one layer (one block, for the calibrated methods) exist as floats and as codes at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from qlearn.convert.blockwise import BlockMethod, quantize_blocks
from qlearn.convert.checks import check_calibration, check_layer, select_layers
from qlearn.convert.methods import METHODS, options_of
from qlearn.convert.report import LayerReport, QuantizationReport, measure, model_bits, stored_bytes
from qlearn.convert.resume import Progress, describe
from qlearn.models.blocks import set_module, weight_of
from qlearn.models.layers.base import CodesLinear
from qlearn.models.layers.copies import copy_for_quantization, dequantize_model, dequantized
from qlearn.models.long_runs import free_memory, progress_bar
from qlearn.numerics.scheme import QuantScheme

__all__ = [
    "METHODS",
    "LayerReport",
    "QuantizationReport",
    "copy_for_quantization",
    "dequantize_model",
    "dequantized",
    "quantize_model",
]


def quantize_model(
    model: nn.Module,
    method: str = "rtn",
    scheme: QuantScheme | None = None,
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
        method: ``"rtn"``, round to nearest; ``"int8"``, inputs in 8 bits too, so that products are
            of integers; ``"gptq"``, later columns make good the errors of earlier ones; ``"awq"``,
            columns of large inputs are enlarged before they are rounded; ``"nf4"`` and ``"fp4"``,
            round to nearest with the levels of a codebook.
        scheme: bits, symmetry and group size; ``None`` is 4 bits, asymmetric, in groups of 64, and
            for ``"int8"`` the one scheme that it has. Codebooks take ``block_size=64`` and
            ``double_quant=False`` in its place.
        calibration: tokens ``[rows, length]`` for the methods that look at activations, such as
            ``load_tokens(tokenizer, split="calibration")``; RTN and codebooks do not use them, INT8
            only with ``smooth=`` or ``activations="static"``.
        progress: show a progress bar.
        skip: names of layers to leave as they are: whole dotted names, their last part, or
            patterns such as ``"*.mlp.*"``.
        resume: a folder in which finished blocks are kept (``None`` keeps none). The same call
            after an interruption, with the original model, goes on from there.
        options: of the method, see :data:`qlearn.convert.methods.METHODS`: for GPTQ those of
            :func:`qlearn.methods.gptq.gptq_quantize`; for AWQ ``clipping`` and ``rounding``, and
            with ``rounding="gptq"`` those of GPTQ too; for INT8 ``activations`` (``"token"``,
            ``"tensor"`` or ``"static"``), ``threshold`` of outliers that are multiplied apart (0:
            none), ``smooth``, SmoothQuant's alpha (``None``: off), and ``smooth_up``, which also
            smooths the inputs of the MLP's last layer, through the rows of the one before.

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
    grid = METHODS[method].grid(method, scheme, settings)
    run_block = METHODS[method].run_with(settings)
    check_calibration(calibration, method, needed=run_block is not None)
    layers = select_layers(model, skip)
    for name, layer in layers.items():
        check_layer(name, weight_of(layer), grid)
    kept = None
    if resume is not None:
        if run_block is None or not METHODS[method].resumable:
            raise ValueError(
                f"resume={str(resume)!r} is not used by method={method!r}, which takes seconds; "
                "leave it out"
            )
        run = describe(model, method, grid, settings, list(layers), calibration)
        kept = Progress(resume, run)
    free_memory()  # from here on what each layer or block frees is given back, not kept
    with torch.no_grad():
        if run_block is None or calibration is None:
            make, title = METHODS[method].layer, f"{method} {grid}"
            reports = _round_layers(
                model, layers, lambda layer: make(layer, grid, settings), title, progress
            )
        else:
            names = list(layers)
            layers.clear()  # so that the floats of a finished block are freed
            task = BlockMethod(method, run_block, grid, settings)
            reports = quantize_blocks(model, names, task, calibration, kept, progress)
    weights = sum(report.weights for report in reports)
    return QuantizationReport(
        method=method,
        scheme=grid,
        seconds=time.perf_counter() - start,
        bits_per_weight=8 * sum(report.bytes for report in reports) / weights,
        model_bits_per_weight=model_bits(model),
        bytes=stored_bytes(model),
        layers=tuple(reports),
    )


def _round_layers(
    model: nn.Module,
    layers: dict[str, nn.Module],
    make: Callable[[nn.Module], CodesLinear],
    title: str,
    progress: bool,
) -> list[LayerReport]:
    """Round each layer by itself; ``layers`` is used up."""
    reports = []
    done: dict[nn.Module, CodesLinear] = {}  # a layer that stands in two places stays one
    with progress_bar(len(layers), title, "layer", progress) as bar:
        for name in list(layers):
            layer = layers.pop(name)  # so that the last reference to its floats goes with it
            if layer not in done:
                new = make(layer).train(layer.training)
                reports.append(measure(name, weight_of(layer), new))
                if layer in layers.values():
                    done[layer] = new
            else:
                new = done[layer]
            set_module(model, name, new)
            del layer
            bar.update()
    return reports

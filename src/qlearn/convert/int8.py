"""W8A8 for one transformer block: inputs looked at, smoothed where asked for, weights rounded.

Everything that is needed of the text is the largest ``|x|`` of each column. Smoothing changes
nothing before rounding, so the unquantized model tells it for all blocks in one pass, as the
authors of SmoothQuant do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from qlearn.convert.blockwise import BlockResult
from qlearn.convert.calibration import gather
from qlearn.convert.folding import find_foldings, fold_each
from qlearn.convert.report import measure
from qlearn.convert.statistics import AbsMax
from qlearn.methods.smoothquant import check_alpha, smoothing_scales
from qlearn.models.blocks import is_linear, linear_layers, weight_of
from qlearn.models.layers.int8 import Int8Linear, check_activations
from qlearn.models.walk import Walk
from qlearn.numerics.scheme import QuantScheme

INT8_OPTIONS: dict[str, Any] = {
    "activations": "token",
    "threshold": 0.0,
    "smooth": None,
    "smooth_up": False,
}


def check_int8_options(settings: Mapping[str, Any]) -> None:
    """Raise a ``ValueError`` for values that do not exist or do not go together."""
    check_activations(settings["activations"], settings["threshold"])
    if settings["smooth"] is not None:
        check_alpha(settings["smooth"])
    elif settings["smooth_up"]:
        raise ValueError(
            "smooth_up=True without smooth=; choose an alpha such as smooth=0.5, or leave both out"
        )


def int8_needs_text(settings: Mapping[str, Any]) -> bool:
    """Whether these options look at activations: fixed grids and smoothing do."""
    return settings["activations"] == "static" or settings["smooth"] is not None


def int8_layer(linear: nn.Module, scheme: QuantScheme, settings: Mapping[str, Any]) -> Int8Linear:
    """One layer, without any text."""
    chosen = {name: settings[name] for name in ("activations", "threshold")}
    return Int8Linear.from_linear(linear, scheme, **chosen)


def int8_block(
    walk: Walk, index: int, names: list[str], scheme: QuantScheme, options: Mapping[str, Any]
) -> BlockResult:
    """Quantize a block's layers on what calibration saw of their inputs.

    Args:
        walk: stands in front of the block; its hidden states are those of the unquantized model.
        index: the block's.
        names: the layers to quantize, by their name inside the block.
        scheme: :data:`qlearn.models.layers.int8.SCHEME`.
        options: :data:`INT8_OPTIONS`.

    Raises:
        ValueError: for a block without a place for scales, where smoothing is asked for.
    """
    layers = linear_layers(walk.blocks[index])
    statistics, outputs = gather(walk, index, AbsMax)
    seen = {name: statistics[name].value for name in names}
    if options["smooth"] is not None:
        smooth(walk, index, seen, options["smooth"], options["smooth_up"])
    new: dict[str, Int8Linear] = {}
    reports = []
    for name in names:
        fixed = seen[name].amax() if options["activations"] == "static" else None
        new[name] = Int8Linear.from_linear(
            layers[name],
            scheme,
            activations=options["activations"],
            threshold=options["threshold"],
            input_absmax=fixed,
        )
        reports.append(measure(name, weight_of(layers[name]), new[name]))
    return BlockResult(new, reports, outputs)


def smooth(
    walk: Walk, index: int, seen: dict[str, Tensor], alpha: float, through_linear: bool = False
) -> None:
    """Move difficulty from a block's inputs to its weights; nothing is rounded.

    Args:
        walk: stands in front of the block.
        index: the block's.
        seen: largest ``|x|`` of each column of each layer's inputs; is brought up to date.
        alpha: see :func:`qlearn.methods.smoothquant.smoothing_scales`.
        through_linear: divide the rows of linear layers too (up to down), not the norms alone.

    Raises:
        ValueError: where no group has a place for its scales.
    """
    block = walk.blocks[index]
    places = [
        place
        for place in find_foldings(walk, index)
        if through_linear or not is_linear(block.get_submodule(place.source))
    ]
    if not places:
        raise ValueError(
            f"block {index} has no norm that feeds its linear layers alone, so there is no place "
            "for smoothing; leave smooth= out"
        )
    layers = linear_layers(block)

    def choose(group: list[str]) -> Tensor:
        return smoothing_scales(seen[group[0]], [weight_of(layers[name]) for name in group], alpha)

    for name, scales in fold_each(walk, index, places, list(seen), choose).items():
        seen[name] = seen[name] / scales

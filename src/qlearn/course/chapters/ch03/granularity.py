"""Precision against granularity on one layer: the course's main explorer, and its landing page's.

A quantizer is any function of a weight and a scheme that returns what the weight becomes, so a
reader may hand in their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor

from qlearn.course.chapters.ch03.figures import draw
from qlearn.numerics.affine import QuantizedTensor, quantize, sqnr
from qlearn.numerics.scheme import GroupSize, QuantScheme
from qlearn.teach.explorer.explorer import Explorer

Quantizer = Callable[[Tensor, QuantScheme], "Tensor | QuantizedTensor"]

GROUP_SIZES: dict[str, GroupSize] = {
    "per tensor": "tensor",
    "per channel": None,
    "192": 192,
    "96": 96,
    "64": 64,
    "32": 32,
}
TILE = (6, 64)  # rows, columns
CODES_SHOWN = 12
BINS = 61  # of the histogram; odd, so that one bin is centred on 0
LANDING_TILE = "landing_tile.safetensors"


@dataclass(frozen=True)
class Survey:
    """What one scheme makes of a layer.

    Attributes:
        tile: float32 [rows, columns], the drawn part of the weights that come back.
        codes: the codes of that part, where the quantizer tells them.
        counts: int64 [BINS], how often each value occurs in the whole layer.
        sqnr: dB, of the whole layer.
        scheme: the scheme that was asked for.
    """

    tile: Tensor
    codes: Tensor | None
    counts: Tensor
    sqnr: float
    scheme: QuantScheme


def tile_of_largest(weight: Tensor, rows: int = TILE[0]) -> tuple[int, int]:
    """First row and column of the tile that holds the largest weight.

    The tile begins half a group of 64 before the group of 64 that holds it, so that the border of
    that group, beyond which an outlier does no harm, is in the middle.

    >>> weight = torch.zeros(16, 192)
    >>> weight[9, 100] = -3
    >>> tile_of_largest(weight)
    (6, 32)
    """
    row, column = divmod(int(weight.abs().argmax()), weight.shape[-1])
    first = max(0, min(row - rows // 2, weight.shape[0] - rows))
    return first, max(0, min(column // 64 * 64 - 32, weight.shape[1] - TILE[1]))


def survey(
    weight: Tensor, scheme: QuantScheme, quantizer: Quantizer, corner: tuple[int, int], reach: float
) -> Survey:
    """Quantize a whole layer, and keep of it what a figure needs.

    Args:
        weight: float [out_features, in_features].
        scheme: what the quantizer is asked for.
        quantizer: returns a tensor of that shape, or a ``QuantizedTensor`` (then codes are known).
        corner: first row and column of the tile.
        reach: the histogram spans ``[-reach, reach]``; what lies beyond counts at its ends.

    Raises:
        ValueError: where the quantizer returns something else.
    """
    result = quantizer(weight, scheme)
    codes = None
    if isinstance(result, QuantizedTensor):
        codes, result = result.codes, result.dequantize()
    if not isinstance(result, Tensor) or result.shape != weight.shape:
        got = list(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise ValueError(
            f"quantizer returned {got} for a weight of shape {list(weight.shape)}; "
            "return the weights that the codes stand for, in the weight's shape"
        )
    return Survey(
        cut(result, corner).float(),
        None if codes is None else cut(codes, corner),
        count(result, reach),
        sqnr(weight, result),
        scheme,
    )


def cut(weight: Tensor, corner: tuple[int, int]) -> Tensor:
    """The tile at ``corner``."""
    return weight[corner[0] : corner[0] + TILE[0], corner[1] : corner[1] + TILE[1]]


def count(values: Tensor, reach: float) -> Tensor:
    """How many values fall into each of ``BINS`` equal bins over ``[-reach, reach]``."""
    place = (values.float() + reach) * (BINS / (2 * reach))
    return torch.bincount(place.long().clamp_(0, BINS - 1).flatten(), minlength=BINS)


def sentence(found: Survey, shape: tuple[int, ...]) -> str:
    """One line: the scheme, its SQNR over the whole layer, and what it costs."""
    scheme = found.scheme
    quality = f"{found.sqnr:.2f} dB" if found.sqnr < float("inf") else "infinite: nothing is lost"
    size = scheme.stored_bits(shape) // 8
    return (
        f"{scheme}: SQNR of all {shape[0]:,} x {shape[1]:,} weights {quality}; {size:,} bytes, "
        f"{scheme.bits_per_weight(shape):.3f} bits per weight."
    )


def first_codes(codes: Tensor | None, weights: Tensor, corner: tuple[int, int]) -> str:
    """One line: the first codes of the tile's row that holds its largest weight, if known."""
    if codes is None:
        return ""
    row = int(weights.abs().amax(dim=1).argmax())
    shown = " ".join(str(code) for code in codes[row, :CODES_SHOWN].tolist())
    return f" Codes of row {corner[0] + row} from column {corner[1]}: {shown} ..."


def granularity_explorer(
    weight: Tensor,
    quantizer: Quantizer = quantize,
    *,
    bits: Iterable[int] = range(2, 9),
    group_sizes: Mapping[str, GroupSize] | None = None,
    corner: tuple[int, int] | None = None,
    start: Mapping[str, Any] | None = None,
    title: str = "Precision and group size",
) -> Explorer:
    """Sliders for precision and group size over a real layer.

    Args:
        weight: float [out_features, in_features], 6 x 64 or more.
        quantizer: ``quantizer(weight, scheme)``: returns the weights that the codes stand for, or
            a ``QuantizedTensor``, whose codes are then shown too.
        bits: the precisions.
        group_sizes: label -> group size; by default those of ``GROUP_SIZES`` that divide.
        corner: first row and column of the drawn tile; by default it holds the largest weight.
        start: where the sliders stand at first.
        title: a heading.

    Raises:
        ValueError: for a weight that is no such matrix.
    """
    if weight.dim() != 2 or weight.shape[0] < TILE[0] or weight.shape[1] < TILE[1]:
        raise ValueError(
            f"weight has shape {list(weight.shape)}; pass a matrix of {TILE[0]} x {TILE[1]} or more"
        )
    weight = weight.detach().float()
    corner = corner or tile_of_largest(weight)
    sizes = group_sizes or {
        label: size
        for label, size in GROUP_SIZES.items()
        if not isinstance(size, int) or weight.shape[1] % size == 0
    }
    spread = float(weight.std())
    reach = 4 * spread
    original = Survey(cut(weight, corner), None, count(weight, reach), 0.0, QuantScheme(8))
    known: dict[tuple[int, GroupSize], Survey] = {}

    def look(bits: int, group_size: GroupSize) -> Survey:
        if (bits, group_size) not in known:  # the figure and its line ask for the same
            scheme = QuantScheme(bits, group_size=group_size)
            known[bits, group_size] = survey(weight, scheme, quantizer, corner, reach)
        return known[bits, group_size]

    def figure(bits: int, group_size: GroupSize) -> Any:
        found = look(bits, group_size)
        return draw(
            original.tile, found.tile, original.counts, found.counts,
            corner=corner, group_size=group_size, spread=spread,
        )  # fmt: skip

    def describe(bits: int, group_size: GroupSize) -> str:
        found = look(bits, group_size)
        cost = sentence(found, tuple(weight.shape))
        return cost + first_codes(found.codes, original.tile, corner)

    wanted = {"bits": 4 if 4 in tuple(bits) else next(iter(bits))}
    if None in sizes.values():
        wanted["group_size"] = None  # type: ignore[assignment]
    controls: dict[str, Any] = {"bits": tuple(bits), "group_size": sizes}
    return Explorer(figure, controls, describe, start={**wanted, **(start or {})}, title=title)


def landing_tile() -> tuple[Tensor, dict[str, str]]:
    """A few whole rows of a real layer, packaged: float32 [rows, in_features], and their origin.

    The site's landing page draws them, so that it builds without the model.
    """
    from safetensors import safe_open

    path = files("qlearn.measure.results") / "weights" / LANDING_TILE
    with safe_open(str(path), framework="pt") as file:
        return file.get_tensor("weight").float(), dict(file.metadata())

"""What cases are made of: seeds, a real layer's weights, and roundings that are clear.

A case is clear where no value lies so near to the middle between two codes that the order of two
float operations decides. The real layer is 16 rows of SmolLM2's down projection of block 10:
package data, so no download.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import as_file, files
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["clear", "generator_of", "off_ties", "real_rows"]

MARGIN = 1e-3  # steps; float32 arithmetic in any sensible order errs by less
Case = TypeVar("Case")


def generator_of(seed: int, stream: int) -> torch.Generator:
    """A generator for one question's cases: another for each seed and stream."""
    return torch.Generator().manual_seed(1009 * seed + stream)


@cache
def _tile() -> Tensor:
    from safetensors.torch import load_file

    with as_file(files("qlearn.measure.results") / "weights" / "landing_tile.safetensors") as path:
        (tile,) = load_file(path).values()
    return tile


def real_rows(rows: int = 16, columns: int = 1536, seed: int = 0) -> Tensor:
    """Rows of the layer, float32 ``[rows, columns]``; which ones depends on the seed."""
    tile = _tile().float()
    chosen = torch.randperm(len(tile), generator=generator_of(seed, 77))[:rows]
    if seed == 0:
        chosen = torch.arange(rows)
    start = (389 * seed) % (tile.shape[1] - columns + 1)
    return tile[chosen, start : start + columns].clone()


def off_ties(values: Tensor) -> bool:
    """Whether no value, in steps, lies near the middle between two whole numbers."""
    steps = values.double()
    return bool(((steps - steps.floor() - 0.5).abs() > MARGIN).all())


def clear(make: Callable[[], Case], is_clear: Callable[[Case], bool]) -> Case:
    """The first of what ``make`` gives, call after call, that is clear.

    Raises:
        ValueError: after 1000 that are not.
    """
    for _ in range(1000):
        case = make()
        if is_clear(case):
            return case
    raise ValueError("is_clear refused 1000 cases in a row; make smaller ones")

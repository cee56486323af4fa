"""The same rounding as one fused loop, by torch.compile, where there is a C++ compiler.

Absmax, scale and 15 comparisons run over a chunk while it is in the processor's registers. The
first call takes some seconds to compile. What it computes is what the plain form computes, bit for
bit; where it can't be compiled a warning says so once, and the plain form is used.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from qlearn.numerics.levels import SMALLEST_ABSMAX, Codebook

Ranks = Callable[[Tensor], tuple[Tensor, Tensor]]


@cache
def compiled_ranks(codebook: Codebook, blocks: int, block_size: int) -> Ranks | None:
    """Compile the rounding of float32 ``[blocks, block_size]`` to ``(ranks, absmax)``.

    ``None`` where that fails, or where the codebook has more than 16 levels.
    """
    if codebook.bits != 4:
        return None
    boundaries = codebook.boundaries.tolist()

    def plain(weights: Tensor) -> tuple[Tensor, Tensor]:
        absmax = weights.abs().amax(dim=1)
        scaled = weights * (1 / absmax.clamp(min=SMALLEST_ABSMAX))[:, None]
        # Counted in float32, as wide as the comparisons, so that the loop is vectorized.
        count = (scaled > boundaries[0]).float()
        for boundary in boundaries[1:]:
            count = count + (scaled > boundary).float()
        return count.to(torch.uint8), absmax

    try:
        fused: Ranks = torch.compile(plain, dynamic=False, fullgraph=True)
        with torch.no_grad():
            fused(torch.zeros(blocks, block_size))  # the first call looks for the compiler
    except Exception as error:  # of many kinds: no compiler, no permission, an unknown platform
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        warnings.warn(
            f"torch.compile does not work here ({line}); the plain form gives the same codes",
            RuntimeWarning,
            stacklevel=4,
        )
        return None

    def call(weights: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return fused(weights)

    return call

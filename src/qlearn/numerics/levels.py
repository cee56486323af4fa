"""Codebooks: the levels that codes stand for, where they do not lie on a uniform grid.

NF4 puts its 16 levels at quantiles of the normal distribution; bitsandbytes' FP4 reads four bits as
sign, exponent and mantissa. Both are derived here, and equal bitsandbytes' tables bit for bit.

Source: Dettmers et al. 2023 (arXiv 2305.14314), section 3 and appendix E.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

MAX_LEVELS = 256  # a code is a byte at the most
SMALLEST_ABSMAX = 1e-38  # a block's absmax is raised to it before it divides: 1 / 1e-39 overflows


@dataclass(frozen=True)
class Codebook:
    """A table of levels in [-1, 1]; a code is a place in it.

    Args:
        name: what it is called, such as ``"nf4"``.
        values: 2 to 256 finite numbers whose largest magnitude is 1, in the order of their codes;
            a tensor or a sequence. They are rounded to float32.

    Raises:
        ValueError: for a name or levels that are none.

    >>> Codebook("ternary", [-1.0, 0.0, 1.0]).boundaries
    tensor([-0.5000,  0.5000])
    """

    name: str
    values: tuple[float, ...]

    def __init__(self, name: str, values: Tensor | Sequence[float]) -> None:
        if not isinstance(name, str) or not name:
            raise ValueError(f"name={name!r} is not a name; pass a word such as 'nf4'")
        try:
            levels = torch.as_tensor(values).detach().to("cpu", torch.float32)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"values={values!r:.60} are not numbers; pass a list of them"
            ) from error
        if levels.dim() != 1 or not 2 <= levels.numel() <= MAX_LEVELS:
            raise ValueError(
                f"values have shape {tuple(levels.shape)}; pass 2 to {MAX_LEVELS} levels in a row"
            )
        largest = float(levels.abs().max())
        if largest != 1:
            raise ValueError(
                f"values have the largest magnitude {largest}, but blocks are scaled to 1; "
                "pass finite levels divided by the largest, levels / levels.abs().max()"
            )
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "values", tuple(levels.tolist()))

    @cached_property
    def levels(self) -> Tensor:
        """The level of each code, float32 ``[levels]``."""
        return torch.tensor(self.values)

    @cached_property
    def order(self) -> Tensor:
        """The codes by rising level, int64 ``[levels]``; equal levels keep their order."""
        return torch.argsort(self.levels, stable=True)

    @cached_property
    def boundaries(self) -> Tensor:
        """Midpoints between neighbouring levels, float32 ``[levels - 1]``, rising.

        A value that lies on a boundary belongs to the lower level.
        """
        rising = self.levels[self.order]
        return (rising[:-1] + rising[1:]) / 2

    @property
    def bits(self) -> int:
        """Bits that a code is stored in: 4 for up to 16 levels, else 8."""
        return 4 if len(self.values) <= 16 else 8

    def __str__(self) -> str:
        return self.name.upper()


def normal_float(offset: float = 0.9677083) -> Tensor:
    """The 16 levels of NF4: quantiles of N(0, 1), 7 below zero and 8 above, divided by the largest.

    Args:
        offset: the share at which the outermost quantile is taken. The paper's
            ``1 - (1/32 + 1/30) / 2`` is 0.96770833; bitsandbytes writes 0.9677083, and no other
            digits give its table.

    Returns:
        float32 ``[16]``, rising. The shares are float32, the quantiles float64: this order too is
        bitsandbytes', others differ in the last bits.

    >>> normal_float()[[0, 7, 8, 15]]
    tensor([-1.0000,  0.0000,  0.0796,  1.0000])
    """

    def quantiles(count: int) -> Tensor:
        shares = torch.linspace(offset, 0.5, count + 1)[:-1]
        return torch.special.ndtri(shares.double()).float()

    levels = torch.cat([-quantiles(7), torch.zeros(1), quantiles(8)]).sort().values
    return levels / levels.max()


def four_bit_float() -> Tensor:
    """The 16 levels of bitsandbytes' FP4 in the order of their codes, float32.

    A code is ``s ee m``. Exponents count down: ``(1 + m/2) * 2**(4 - e)`` for ``e`` of 1 to 3.
    ``e = 0`` holds 0 and a single subnormal, ``2**-4``. All is divided by 12, the largest. E2M1,
    which other formats call FP4, has the subnormal 0.5 beside the largest 6: 0.0833, not 0.0052.

    >>> (four_bit_float()[:8] * 12).tolist()
    [0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0]
    """

    def value(code: int) -> float:
        sign, exponent, mantissa = code >> 3, code >> 1 & 3, code & 1
        if exponent == 0:
            magnitude = mantissa * 2.0**-4
        else:
            magnitude = (1 + mantissa / 2) * 2.0 ** (4 - exponent)
        return -magnitude if sign and magnitude else magnitude  # code 8 is a second +0

    return torch.tensor([value(code) for code in range(16)]) / 12


NF4 = Codebook("nf4", normal_float())
FP4 = Codebook("fp4", four_bit_float())

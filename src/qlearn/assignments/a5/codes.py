"""Assignment 5, the base: NF4's levels, and blocks of weights that share an absmax."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qlearn.assignments.shared.cases import clear, generator_of, real_rows
from qlearn.teach.checks.checker import Exercise

NF4_OFFSET = 1 - (1 / 32 + 1 / 30) / 2
MARGIN = 1e-4  # of the range, from the middle between two levels


def levels(bits: int, offset: float) -> Tensor:
    """The levels of NF`bits`, float32, rising from -1 to 1."""
    half = 2 ** (bits - 1)
    return _table(_quantiles(offset, half), _quantiles(offset, half - 1))


def _quantiles(offset: float, count: int) -> Tensor:
    """``count`` quantiles of the normal distribution above 0, the largest first."""
    places = torch.linspace(offset, 0.5, count + 1, dtype=torch.float64)[:-1]
    return torch.special.ndtri(places)


def _table(positive: Tensor, negative: Tensor, zero: bool = True) -> Tensor:
    whole = torch.cat([positive, -negative, positive.new_zeros(int(zero))]).sort().values
    return (whole / whole.max()).float()


def make_levels(seed: int) -> Exercise:
    """NF4 itself, and other widths and offsets."""
    generator = generator_of(seed, 51)
    offsets = (0.93 + 0.06 * torch.rand(3, generator=generator, dtype=torch.float64)).tolist()
    cases = [(4, NF4_OFFSET), (3, offsets[0]), (5, offsets[1]), (4, offsets[2])]

    def even(bits: int, offset: float) -> Tensor:
        return torch.linspace(-1, 1, 2**bits)

    def even_probabilities(bits: int, offset: float) -> Tensor:
        places = torch.linspace(1 - offset, offset, 2**bits, dtype=torch.float64)
        found = torch.special.ndtri(places)
        return (found / found.max()).float()

    def unscaled(bits: int, offset: float) -> Tensor:
        half = 2 ** (bits - 1)
        up, down = _quantiles(offset, half), _quantiles(offset, half - 1)
        return torch.cat([up, -down, up.new_zeros(1)]).sort().values.float()

    def each_side_by_its_own(bits: int, offset: float) -> Tensor:
        half = 2 ** (bits - 1)
        up, down = _quantiles(offset, half), _quantiles(offset - 0.01, half - 1)
        return torch.cat([up / up.max(), -down / up.max(), up.new_zeros(1)]).sort().values.float()

    return Exercise(
        id="a5.levels",
        task="Write `normal_levels(bits, offset)`: 2^(bits-1) normal quantiles above 0 at evenly "
        "spaced probabilities from `offset` down to 0.5 (without 0.5), 2^(bits-1) - 1 below 0 "
        "likewise, and 0; divided by the largest; float32, rising.",
        expected=levels,
        cases=cases,
        mistakes={
            "These levels are evenly spaced: no quantiles.": even,
            "These are the quantiles of evenly spaced probabilities on both sides at once: no "
            "level is 0. NF4 builds the two sides apart, around an exact 0.": even_probabilities,
            "Both sides have 2^(bits-1) - 1 levels: one level is lost. One side has more.": (
                lambda bits, offset: _table(
                    _quantiles(offset, 2 ** (bits - 1) - 1), _quantiles(offset, 2 ** (bits - 1) - 1)
                )
            ),
            "Both sides have 2^(bits-1) levels and 0 comes on top: that is one too many.": (
                lambda bits, offset: _table(
                    _quantiles(offset, 2 ** (bits - 1)), _quantiles(offset, 2 ** (bits - 1))
                )
            ),
            "0 is missing: weights of 0 must come back as 0.": lambda bits, offset: _table(
                _quantiles(offset, 2 ** (bits - 1)),
                _quantiles(offset, 2 ** (bits - 1)),
                zero=False,
            ),
            "The longer side is the negative one; NF4's is the positive one.": (
                lambda bits, offset: -levels(bits, offset).flip(0)
            ),
            "Not divided by the largest: levels must end at 1.": unscaled,
            "They do not rise: sort them.": lambda bits, offset: levels(bits, offset).flip(0),
            "Float64 comes out; a table of levels is float32.": lambda bits, offset: levels(
                bits, offset
            ).double(),
            "These are probabilities; take the quantile of each: `torch.special.ndtri`.": (
                lambda bits, offset: _table(
                    torch.linspace(offset, 0.5, 2 ** (bits - 1) + 1)[:-1] - 0.5,
                    torch.linspace(offset, 0.5, 2 ** (bits - 1))[:-1] - 0.5,
                )
            ),
            "The probability of 0.5 was not left out on the negative side, whose quantile is 0.": (
                lambda bits, offset: _table(
                    _quantiles(offset, 2 ** (bits - 1)),
                    torch.special.ndtri(
                        torch.linspace(offset, 0.5, 2 ** (bits - 1) - 1, dtype=torch.float64)
                    ),
                )
            ),
        },
        rtol=1e-5,
        atol=1e-6,
        hint="torch.special.ndtri(torch.linspace(offset, 0.5, count + 1)[:-1]) for each side, in "
        "float64.",
    )


def quantize_blocks(weight: Tensor, table: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Codes uint8 ``[n]`` and absmax float32 ``[blocks]``; the last block may be shorter."""
    flat = weight.float().flatten()
    absmax = torch.stack([part.abs().max() for part in flat.split(block)])
    return _codes(_scaled(flat, absmax, block), table), absmax


def _scaled(flat: Tensor, absmax: Tensor, block: int) -> Tensor:
    divisor = torch.where(absmax == 0, 1.0, absmax)
    return flat / divisor.repeat_interleave(block)[: len(flat)]


def _codes(values: Tensor, table: Tensor) -> Tensor:
    return (values[:, None] - table).abs().argmin(1).to(torch.uint8)


def _is_clear(case: tuple[Tensor, Tensor, int]) -> bool:
    weight, table, block = case
    flat = weight.float().flatten()
    absmax = torch.stack([part.abs().max() for part in flat.split(block)])
    middles = (table[1:] + table[:-1]) / 2
    return bool(((_scaled(flat, absmax, block)[:, None] - middles).abs() > MARGIN).all())


def make_quantize(seed: int) -> Exercise:
    """Real weights, a short last block, a block of zeros, float16."""
    generator = generator_of(seed, 52)
    nf4 = levels(4, NF4_OFFSET)

    def real(rows: int, columns: int) -> Tensor:
        first = int(torch.randint(1000, (1,), generator=generator))
        return real_rows(rows, columns, seed=first)

    def some(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def zeros() -> tuple[Tensor, Tensor, int]:
        weight = some(3, 32)
        weight[1] = 0
        return weight, nf4, 16

    def outlier() -> tuple[Tensor, Tensor, int]:
        weight = some(2, 48)
        weight[1, 3] = -7.0
        return weight, levels(3, 0.95), 24

    makes = (
        lambda: (real(4, 64), nf4, 64),
        lambda: (some(5, 21), nf4, 32),
        zeros,
        outlier,
        lambda: (real(2, 64).half(), nf4, 32),
    )
    cases = [clear(make, _is_clear) for make in makes]

    def by(absmax_of: Any, code: Any = _codes) -> Any:
        def wrong(weight: Tensor, table: Tensor, block: int) -> tuple[Tensor, Tensor]:
            flat = weight.float().flatten()
            absmax = torch.stack([absmax_of(part) for part in flat.split(block)])
            return code(_scaled(flat, absmax, block), table), absmax

        return wrong

    def one_for_all(weight: Tensor, table: Tensor, block: int) -> tuple[Tensor, Tensor]:
        flat = weight.float().flatten()
        absmax = flat.abs().max().expand(-(-len(flat) // block)).clone()
        return _codes(_scaled(flat, absmax, block), table), absmax

    def lower(values: Tensor, table: Tensor) -> Tensor:
        found = torch.searchsorted(table, values.contiguous(), right=True) - 1
        return found.clamp(0, len(table) - 1).to(torch.uint8)

    def evenly(values: Tensor, table: Tensor) -> Tensor:
        return ((values + 1) / 2 * (len(table) - 1)).round().to(torch.uint8)

    def along_columns(weight: Tensor, table: Tensor, block: int) -> tuple[Tensor, Tensor]:
        return quantize_blocks(weight.T, table, block)

    def unscaled(weight: Tensor, table: Tensor, block: int) -> tuple[Tensor, Tensor]:
        return _codes(weight.float().flatten(), table), quantize_blocks(weight, table, block)[1]

    return Exercise(
        id="a5.quantize",
        task="Write `quantize_blocks(weight, levels, block)`: (codes, absmax). The weight is "
        "flattened; each `block` weights share their largest magnitude, float32; the last block "
        "may be shorter. A code, uint8, is the place of the nearest level to weight / absmax; a "
        "block of zeros keeps absmax 0 and the code of level 0.",
        expected=quantize_blocks,
        cases=cases,
        mistakes={
            "One absmax for the whole tensor; each block has its own.": one_for_all,
            "The largest weight of a block without its sign: take the largest magnitude.": by(
                lambda part: part.max()
            ),
            "The blocks' standard deviation; levels end at 1, so the largest magnitude must "
            "become 1.": by(lambda part: part.std()),
            "The mean magnitude of a block; weights beyond it all get the last level.": by(
                lambda part: part.abs().mean()
            ),
            "The level below, not the nearest.": by(lambda part: part.abs().max(), lower),
            "These codes belong to evenly spaced levels; the given ones are not.": by(
                lambda part: part.abs().max(), evenly
            ),
            "Blocks run along the columns; flatten row by row.": along_columns,
            "The weights were not divided by their absmax before looking for a level.": unscaled,
            "Codes are places in a table of at most 256 levels: uint8, not int64.": (
                lambda weight, table, block: (
                    quantize_blocks(weight, table, block)[0].long(),
                    quantize_blocks(weight, table, block)[1],
                )
            ),
            "You hand back what the codes stand for; return the codes.": (
                lambda weight, table, block: (
                    table[quantize_blocks(weight, table, block)[0].long()],
                    quantize_blocks(weight, table, block)[1],
                )
            ),
            "The last, shorter block is missing: keep what is left over.": (
                lambda weight, table, block: quantize_blocks(
                    weight.flatten()[: weight.numel() // block * block], table, block
                )
            ),
            "0 / 0: a block of zeros gives NaN, whose nearest level is the first. Divide by 1 "
            "there.": _zeros_first,
        },
        rtol=1e-5,
        atol=1e-7,
        hint="flatten, split(block), abs().max(); then (values[:, None] - levels).abs().argmin(1).",
    )


def _zeros_first(weight: Tensor, table: Tensor, block: int) -> tuple[Tensor, Tensor]:
    codes, absmax = quantize_blocks(weight, table, block)
    dead = (absmax == 0).repeat_interleave(block)[: len(codes)]
    return codes.masked_fill(dead, 0), absmax

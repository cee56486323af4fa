"""Rounding blocks to the nearest levels of a codebook, fast and with bitsandbytes' arithmetic.

A search over 15 boundaries is what takes the time. Here [-1, 1] is cut into cells so narrow that
none holds two boundaries: a table gives the level of a cell, and where its one boundary lies. Two
look-ups and one comparison settle each weight, exactly as a search would.

The rank of a level is its place among the levels by size; a code is its place in the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from qlearn.numerics.levels import SMALLEST_ABSMAX, Codebook
from qlearn.numerics.nearest_compiled import compiled_ranks

_CHUNK = 1 << 18  # weights handled at a time: they stay in the CPU's cache from step to step
_MAX_CELLS = 1 << 14


def round_blocks(
    weight: Tensor, codebook: Codebook, block_size: int, compiled: bool = False
) -> tuple[Tensor, Tensor]:
    """Divide each block by its absmax and take the nearest levels.

    Args:
        weight: ``[n]``, floats of any dtype; they are rounded to float32.
        codebook: the levels.
        block_size: weights a block; an even number, and the last block may be shorter.
        compiled: whether whole chunks go through torch.compile, where it works.

    Returns:
        ``(codes, absmax)``: uint8 ``[n]``, or ``[ceil(n / 2)]`` for codes of 4 bits, the first of a
        pair in the high nibble; float32 ``[blocks]``.

    Raises:
        ValueError: for NaN or infinite weights.
    """
    count = weight.numel()
    a_byte = 8 // codebook.bits
    codes = torch.empty(-(-count // a_byte), dtype=torch.uint8, device=weight.device)
    absmax = torch.empty(-(-count // block_size), device=weight.device)
    whole = count - count % block_size
    step = max(1, _CHUNK // block_size) * block_size
    fused = None
    if compiled and whole >= step and weight.device.type == "cpu":
        fused = compiled_ranks(codebook, step // block_size, block_size)
    for start in range(0, whole, step):
        stop = min(start + step, whole)
        part = weight[start:stop].float().view(-1, block_size)
        largest = absmax[start // block_size : stop // block_size]
        if fused is not None and stop - start == step:
            ranks, found = fused(part)
            largest.copy_(found)
            _check_finite(largest, weight)
        else:
            largest.copy_(part.abs().amax(dim=1))
            _check_finite(largest, weight)
            scale = 1 / largest.clamp(min=SMALLEST_ABSMAX)
            ranks = ranks_of(part * scale[:, None], codebook)
        codes[start // a_byte : stop // a_byte] = _to_codes(ranks.view(-1), codebook)
    if whole < count:
        part = weight[whole:].float()
        # bitsandbytes raises a short block's absmax, and divides by it: other last bits.
        largest = part.abs().amax().clamp_(min=SMALLEST_ABSMAX)
        _check_finite(largest, weight)
        absmax[-1] = largest
        part = torch.nn.functional.pad(part / largest, (0, -count % a_byte))
        codes[whole // a_byte :] = _to_codes(ranks_of(part, codebook), codebook)
    return codes, absmax


def ranks_of(scaled: Tensor, codebook: Codebook) -> Tensor:
    """The rank of the nearest level, uint8; on a boundary the lower one's.

    ``scaled`` is float32 in [-1, 1], but for what the last bit of a scale adds to it.
    """
    cells = _cells(codebook, scaled.device)
    if cells is None:  # too many cells would be needed
        boundaries = codebook.boundaries.to(scaled.device)
        return torch.bucketize(scaled, boundaries, out_int32=True).to(torch.uint8)
    place = cells.place(scaled).view(-1)
    ranks = cells.rank.index_select(0, place)
    above = scaled.view(-1) > cells.boundary.index_select(0, place)
    return ranks.add_(above.view(torch.uint8)).view(scaled.shape)


@dataclass(frozen=True)
class _Cells:
    """What is known of each cell.

    Attributes:
        number: cells in a unit, so twice as many in [-1, 1].
        rank: uint8, the rank of the lowest level that a value in the cell may have.
        boundary: float32, above which it is the next one; infinite where the cell has none.
    """

    number: int
    rank: Tensor
    boundary: Tensor

    def place(self, scaled: Tensor) -> Tensor:
        """The cell of each value. Larger values never have a smaller cell, however it rounds."""
        return (scaled * self.number + (self.number + 1)).to(torch.int32)


@cache
def _cells(codebook: Codebook, device: torch.device) -> _Cells | None:
    """The coarsest cells that tell all boundaries apart; ``None`` where they would be too many."""
    boundaries = codebook.boundaries
    number = 16
    while number <= _MAX_CELLS:
        cells = _Cells(number, torch.zeros(2 * number + 3), torch.zeros(0))
        own = cells.place(boundaries)
        if bool((own.diff() > 0).all()):
            every = torch.arange(2 * number + 3, dtype=torch.int32)
            rank = torch.bucketize(every, own).to(torch.uint8)
            boundary = torch.full((2 * number + 3,), torch.inf)
            boundary[own.long()] = boundaries
            return _Cells(number, rank.to(device), boundary.to(device))
        number *= 2
    return None


def _to_codes(ranks: Tensor, codebook: Codebook) -> Tensor:
    """Ranks ``[n]`` as codes, packed where two share a byte."""
    if codebook.bits == 4:
        pairs = ranks.view(torch.int16)  # the first of a pair is the lower byte
        ranks = ((pairs << 4) | (pairs >> 8)).to(torch.uint8)
    names = _names(codebook, ranks.device)
    return ranks if names is None else names.index_select(0, ranks.int())


@cache
def _names(codebook: Codebook, device: torch.device) -> Tensor | None:
    """The codes of each byte of ranks, uint8 ``[256]``; ``None`` where code and rank are one."""
    order = codebook.order.to(torch.uint8)
    if torch.equal(order, torch.arange(len(order), dtype=torch.uint8)):
        return None
    padded = torch.zeros(16 if codebook.bits == 4 else 256, dtype=torch.uint8)
    padded[: len(order)] = order
    if codebook.bits == 4:
        padded = (padded[:, None] << 4 | padded).view(-1)
    return padded.to(device)


def _check_finite(absmax: Tensor, weight: Tensor) -> None:
    """NaN and infinities both survive a maximum of magnitudes, so that alone needs a look."""
    if not bool(torch.isfinite(absmax).all()):
        bad = int((~torch.isfinite(weight.float())).sum())
        raise ValueError(
            f"tensor holds {bad} values that are NaN or infinite in float32; replace them "
            "(torch.nan_to_num) or find where they come from"
        )

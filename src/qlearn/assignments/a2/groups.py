"""Assignment 2: a grid for each group of a row, and a clip for each row."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from qlearn.assignments.a1.codes import codes as affine_codes
from qlearn.assignments.a1.grid import grid
from qlearn.assignments.shared.cases import clear, generator_of, off_ties, real_rows
from qlearn.teach.checks.checker import Exercise

Grouped = tuple[Tensor, Tensor, Tensor]


def _groups(weight: Tensor, bits: int, group_size: int, *, rule: str = "") -> Grouped:
    """Codes, scale and zero-point group by group; ``rule`` spoils one step."""
    if rule == "down":
        codes, scale, zero = _groups(weight.T, bits, group_size)
        return codes.T.contiguous(), scale.T.contiguous(), zero.T.contiguous()
    rows, columns = weight.shape
    values = weight if rule == "narrow" else weight.float()
    size = columns if rule == "per row" else group_size
    starts = list(range(0, columns, size))
    if rule == "dropped":
        starts = [start for start in starts if start + size <= columns] or starts
    codes = torch.zeros(rows, columns, dtype=torch.uint8)
    scales: list[Tensor] = []
    zeros: list[Tensor] = []
    for k, start in enumerate(starts):
        part = values[:, start : start + size]
        scale, zero_point = grid(part.half() if rule == "narrow" else part, bits)
        if rule == "raw":
            low, high = part.amin(1, keepdim=True), part.amax(1, keepdim=True)
            scale = (high - low) / (2**bits - 1)
            zero_point = (-low / scale).round().clamp(0, 2**bits - 1).nan_to_num().to(torch.uint8)
        elif rule == "unguarded":
            scale = torch.where((part == 0).all(1, keepdim=True), 0.0, scale)
        elif rule == "whole":
            scale, zero_point = (x.expand(rows, 1) for x in grid(part.reshape(1, -1), bits))
        elif rule == "last" and k and part.shape[1] < size:
            scale, zero_point = scales[-1], zeros[-1]
        elif rule == "first":
            scale, zero_point = (scales[0], zeros[0]) if k else (scale, zero_point)
        elif rule == "symmetric":
            scale = part.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
            scale = torch.where(scale > 0, scale, torch.ones_like(scale))
            zero_point = torch.full_like(zero_point, 2 ** (bits - 1))
        scales.append(scale.clone())
        zeros.append(zero_point.clone())
        made = affine_codes(part, scale, zero_point, bits)
        if rule == "unguarded":
            made = torch.where(scale == 0, 0, made)
        codes[:, start : start + part.shape[1]] = made
    scale, zero_point = torch.cat(scales, 1), torch.cat(zeros, 1)
    if rule == "half scale":
        scale = scale.half().float()
    if rule == "order":
        return codes, scale.T.contiguous(), zero_point.T.contiguous()
    return codes, scale, zero_point


def groups(weight: Tensor, bits: int, group_size: int) -> Grouped:
    """The reference of a2.groups."""
    return _groups(weight, bits, group_size)


GROUPS_PARTS = (
    *["even groups"] * 3,
    *["a shorter last group"] * 2,
    "a group as wide as the row",
    "a group of zeros",
    "groups of one sign",
    "groups of one",
    "float16 weights",
    "a real layer",
)
GroupsCase = tuple[Tensor, int, int]


def _is_clear(case: GroupsCase) -> bool:
    weight, bits, size = case
    _, scale, _ = groups(weight, bits, size)
    wide = weight.float()
    for k in range(scale.shape[1]):
        part = wide[:, k * size : (k + 1) * size]
        low = part.amin(1, keepdim=True).clamp(max=0)
        if not (off_ties(part / scale[:, k : k + 1]) and off_ties(low / scale[:, k : k + 1])):
            return False
    return True


def _groups_cases(seed: int) -> list[GroupsCase]:
    generator = generator_of(seed, 24)

    def normal(rows: int, columns: int, bits: int, size: int) -> GroupsCase:
        def make() -> GroupsCase:
            weight = torch.randn(rows, columns, generator=generator)
            weight *= 0.2 + torch.rand(1, columns, generator=generator)
            return weight, bits, size

        return clear(make, _is_clear)

    def changed(case: GroupsCase, change: Callable[[Tensor], Tensor]) -> GroupsCase:
        return change(case[0]), *case[1:]

    def zeroed(weight: Tensor) -> Tensor:
        weight[1, 4:8] = 0.0
        return weight

    def one_sign() -> GroupsCase:
        weight = 0.5 + torch.rand(3, 12, generator=generator)
        weight[:, 6:] *= -1
        return weight, 4, 6

    def half() -> GroupsCase:
        return (3e4 * torch.randn(3, 12, generator=generator)).clamp(-6e4, 6e4).half(), 4, 4

    others = itertools.count(seed)  # where the seed's own rows of the layer hold a near-tie
    # Few of a row's weights at 3 bits, so that 1000 tries find rows without a near-tie.
    return [
        normal(4, 16, 4, 4),
        normal(3, 24, 3, 8),
        normal(2, 32, 2, 16),
        normal(3, 10, 4, 4),
        normal(4, 21, 3, 8),
        normal(3, 8, 4, 8),
        changed(normal(3, 12, 4, 4), zeroed),
        clear(one_sign, _is_clear),
        (torch.randn(2, 5, generator=generator), 4, 1),
        clear(half, _is_clear),
        clear(lambda: (real_rows(2, 160, next(others)), 4, 64), _is_clear),
    ]


def make_groups(seed: int) -> Exercise:
    """Groups that fit and that do not."""
    rules = {
        "The last, shorter group is left out: it has a grid of its own.": "dropped",
        "One grid for each row: fit one to each group of it.": "per row",
        "The groups run down the columns. A group is neighbours within a row.": "down",
        "One grid for a group of all rows together: each row has its own.": "whole",
        "The last, shorter group uses the grid of the one before it.": "last",
        "Every group uses the first group's grid.": "first",
        "The grids are `[groups, rows]`: they should be `[rows, groups]`.": "order",
        "The range does not reach 0 in groups of one sign.": "raw",
        "A group of zeros gets scale 0: put 1 there.": "unguarded",
        "The grid is symmetric. Fit it to the smallest and the largest weight of the group.": (
            "symmetric"
        ),
        "The scale is rounded to float16. Return it as float32 here.": "half scale",
    }

    def spoilt(rule: str) -> Callable[..., Grouped]:
        return lambda w, b, g: _groups(w, b, g, rule=rule)

    return Exercise(
        id="a2.groups",
        task="Write `quantize_groups(weight, bits, group_size)`: uint8 codes in the weight's "
        "shape, float32 scales and uint8 zero-points `[rows, groups]`; the last group may be "
        "shorter.",
        expected=groups,
        cases=_groups_cases(seed),
        mistakes={diagnosis: spoilt(rule) for diagnosis, rule in rules.items()},
        hint="Loop over the starts of groups, and fit a grid to each slice of columns.",
    )


def _shares(weight: Tensor, bits: int, shares: list[float], *, rule: str = "") -> Tensor:
    """The best share of each row's absmax; ``rule`` spoils one step."""
    top = 2 ** (bits - 1) - 1
    absmax = weight.abs().amax(1, keepdim=True)
    if rule == "tensor absmax":
        absmax = weight.abs().max().expand(len(weight), 1)
    costs = []
    for share in shares:
        clip = torch.full_like(absmax, share) if rule == "absolute" else share * absmax
        step = clip / top
        whole = torch.round(weight / step)
        back = (whole if rule == "unclamped" else whole.clamp(-top, top)) * step
        error = weight - back
        if rule == "clipping":
            error = (weight.abs() - clip).clamp(min=0)
        cost = error.square().mean(1)
        if rule == "largest":
            cost = error.abs().amax(1)
        elif rule == "fourth":
            cost = error.abs().mean(1)
        elif rule == "in steps":
            cost = (error / step).square().mean(1)
        costs.append(cost)
    table = torch.stack(costs)
    if rule == "one for all":
        table = table.mean(1, keepdim=True).expand_as(table)
    best = table.argmax(0) if rule == "worst" else table.argmin(0)
    if rule == "index":
        return best[:, None].float()
    found = torch.tensor(shares)[best][:, None]
    return found * absmax if rule == "clip" else found


def shares(weight: Tensor, bits: int, shares: list[float]) -> Tensor:
    """The reference of a2.clip."""
    return _shares(weight, bits, shares)


CLIP_PARTS = ("a bell", "a bell", "a row with an outlier", "flat rows", "4 bits", "a real layer")
CANDIDATES = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]
ClipCase = tuple[Tensor, int, list[float]]


def _clip_cases(seed: int) -> list[ClipCase]:
    generator = generator_of(seed, 25)

    def decided(case: ClipCase) -> bool:
        """No two shares come close in a row, whichever way the sums are taken."""
        weight, bits, candidates = case
        errors = []
        for share in candidates:
            step = share * weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
            top = 2 ** (bits - 1) - 1
            errors.append((weight - (weight / step).round().clamp(-top, top) * step).square())
        best = torch.stack([error.mean(1) for error in errors]).sort(0).values
        return bool((best[1] > 1.001 * best[0]).all())

    def bell(rows: int, bits: int, size: float = 1.0) -> ClipCase:
        return size * torch.randn(rows, 200, generator=generator), bits, CANDIDATES

    def outlier() -> ClipCase:
        weight, bits, candidates = bell(3, 4)
        weight[0, 0] = 8.0
        weight[1, 5] = -6.0
        return weight, bits, candidates

    def flat() -> ClipCase:
        return torch.rand(3, 150, generator=generator) * 2 - 1, 3, CANDIDATES

    return [
        clear(lambda: bell(4, 3), decided),
        clear(lambda: bell(3, 2, 0.02), decided),
        clear(outlier, decided),
        clear(flat, decided),
        clear(lambda: bell(4, 4), decided),
        (real_rows(6, 1400, seed), 3, CANDIDATES),
    ]


def make_clip(seed: int) -> Exercise:
    """Rows that want to be clipped and rows that do not."""
    rules = {
        "One share for the whole tensor: each row has its own best one.": "one for all",
        "The clip is a share of the tensor's largest weight: take each row's own.": "tensor absmax",
        "This minimises the largest error, which never lets anything be clipped.": "largest",
        "The codes are not clamped, so clipping costs nothing and the finest grid wins.": (
            "unclamped"
        ),
        "Only the error of clipping is counted, so the widest grid wins: it also rounds more "
        "coarsely.": "clipping",
        "This minimises the mean absolute error: square it, as large errors hurt more.": "fourth",
        "The error is counted in steps, and so the widest step wins: count it in weights.": (
            "in steps"
        ),
        "These are places in the list: return the shares themselves.": "index",
        "These are the clips: return the shares of the largest weight.": "clip",
        "This is the share with the most error: take the least.": "worst",
    }

    def spoilt(rule: str) -> Callable[..., Tensor]:
        return lambda w, b, s: _shares(w, b, s, rule=rule)

    return Exercise(
        id="a2.clip",
        task="Write `best_shares(weight, bits, shares)`: for each row the share of its largest "
        "magnitude at which clipping leaves the least mean squared error, float32 `[rows, 1]`.",
        expected=shares,
        cases=_clip_cases(seed),
        mistakes={diagnosis: spoilt(rule) for diagnosis, rule in rules.items()},
        hint="For each share: clip, quantize with a clamp, go back, mean of squares along the row.",
    )

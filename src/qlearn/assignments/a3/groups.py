"""Assignment 3: GPTQ with groups, damping and dead inputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from qlearn.assignments.a1.grid import grid
from qlearn.assignments.a2.groups import groups as nearest_groups
from qlearn.assignments.a3.steps import correlated
from qlearn.assignments.shared.cases import clear, generator_of, off_ties
from qlearn.teach.checks.checker import Exercise

Grouped = tuple[Tensor, Tensor, Tensor]
Case = tuple[Tensor, Tensor, int, int, float]


def run(
    weight: Tensor,
    hessian: Tensor,
    bits: int,
    group_size: int,
    damping: float,
    *,
    rule: str = "",
    places: list[Tensor] | None = None,
) -> Grouped:
    """Codes, scale and zero-point; ``rule`` spoils one step, ``places`` gathers what is rounded."""
    left, h = weight.double().clone(), hessian.double().clone()
    rows, columns = weight.shape
    size = columns if rule == "per row" else group_size
    dead = h.diagonal() == 0
    mean = h.diagonal().mean()
    if rule != "not revived":
        h[dead, dead] = 1.0
    if rule not in ("not revived", "not zeroed"):
        left[:, dead] = 0.0
    if rule != "mean before":
        mean = h.diagonal().mean()
    if rule == "largest":
        mean = h.diagonal().max()
    if rule == "absolute":
        mean = torch.ones((), dtype=h.dtype)
    if rule != "undamped":
        h += damping * mean * torch.eye(columns, dtype=h.dtype)
    if rule == "undamped":
        h += 1e-9 * mean * torch.eye(columns, dtype=h.dtype)
    inverse = torch.linalg.inv(h)
    factor = torch.linalg.cholesky(inverse, upper=True)
    if rule == "stale":
        factor = inverse / inverse.diagonal().sqrt()[:, None]
    start_values = left.clone()
    codes = torch.zeros(rows, columns, dtype=torch.uint8)
    scales, zeros = [], []
    scale = zero = left.new_ones(rows)
    for i in range(columns):
        if i % size == 0:
            source = start_values if rule == "static" else left
            fitted = grid(source[:, i : i + size].float(), bits)
            if places is not None:
                low = source[:, i : i + size].amin(1).clamp(max=0)
                places.append(low / fitted[0][:, 0].double())
            scales.append(fitted[0])
            zeros.append(fitted[1])
            scale, zero = (x[:, 0].double() for x in fitted)
        if places is not None:
            places.append(left[:, i] / scale)
        code = ((left[:, i] / scale).round() + zero).clamp(0, 2**bits - 1)
        codes[:, i] = code.to(torch.uint8)
        error = (left[:, i] - (code - zero) * scale) / factor[i, i]
        stop = columns if rule != "own group" else min(columns, (i // size + 1) * size)
        left[:, i + 1 : stop] -= error[:, None] * factor[i, i + 1 : stop]
    result = codes, torch.cat(scales, 1), torch.cat(zeros, 1)
    if rule == "order":
        return result[0], result[1].T.contiguous(), result[2].T.contiguous()
    return result


def gptq_groups(
    weight: Tensor, hessian: Tensor, bits: int, group_size: int, damping: float
) -> Grouped:
    """The reference of a3.groups."""
    return run(weight, hessian, bits, group_size, damping)


GROUPS_PARTS = (
    *["even groups"] * 2,
    "a shorter last group",
    "a group as wide as the row",
    *["dead inputs"] * 2,
    "more damping",
    "float16 weights",
)


def _groups_cases(seed: int) -> list[Case]:
    generator = generator_of(seed, 35)

    def made(
        rows: int,
        columns: int,
        bits: int,
        size: int,
        damping: float = 0.01,
        dead: tuple[int, ...] = (),
        half: bool = False,
        size_of_inputs: float = 1.0,
    ) -> Case:
        def make() -> Case:
            weight = torch.randn(rows, columns, generator=generator)
            hessian = size_of_inputs * correlated(columns, generator)
            for i in dead:
                hessian[i], hessian[:, i] = 0.0, 0.0
            return weight.half() if half else weight, hessian, bits, size, damping

        def is_clear(case: Case) -> bool:
            places: list[Tensor] = []
            codes, _, _ = run(*case, places=places)
            if not all(off_ties(place) for place in places):
                return False
            before, _, _ = run(*case, rule="mean before")
            return size_of_inputs == 1.0 or not torch.equal(codes, before)

        return clear(make, is_clear)

    return [
        made(3, 8, 3, 4),
        made(2, 24, 3, 8),
        made(3, 10, 4, 4),
        made(3, 6, 3, 6),
        made(3, 8, 3, 4, dead=(0, 1, 2, 3)),  # a group of zeros
        made(3, 9, 3, 4, dead=(0, 7), damping=0.2, size_of_inputs=0.02),
        made(3, 8, 3, 4, damping=0.5),
        made(2, 8, 3, 4, half=True),
    ]


def _dropped(weight: Tensor, hessian: Tensor, bits: int, size: int, damping: float) -> Grouped:
    n = weight.shape[1] // size * size or weight.shape[1]
    codes, scale, zero = run(weight, hessian, bits, size, damping)
    codes[:, n:] = 0
    kept = n // size if n >= size else scale.shape[1]
    return codes, scale[:, :kept], zero[:, :kept]


def make_groups(seed: int) -> Exercise:
    """Groups, damping and inputs that are always zero."""
    rules = {
        "The inverse is stale here too: use the Cholesky factor of the inverse.": "stale",
        "All grids are fitted to the weight as given. Fit a group's grid when its first column is "
        "reached, to the columns as they have moved by then.": "static",
        "One grid for each row: fit one to each group.": "per row",
        "Errors stop at the end of their group: later groups must make them good too.": "own group",
        "The Hessian is not damped.": "undamped",
        "The damping is a share of the largest diagonal value: take the mean.": "largest",
        "The damping is added as it is. It is a share of the diagonal's mean.": "absolute",
        "The diagonal's mean is taken before the dead inputs get their 1.": "mean before",
        "A dead input's weights are quantized as they are. No input reads them: set them to 0.": (
            "not zeroed"
        ),
        "Dead inputs are not looked for: where H_ii is 0, put 1 there and set the weights to 0.": (
            "not revived"
        ),
        "The grids are `[groups, rows]`: they should be `[rows, groups]`.": "order",
    }

    def spoilt(rule: str) -> Callable[..., Grouped]:
        return lambda *case: run(*case, rule=rule)

    return Exercise(
        id="a3.groups",
        task="Write `gptq_groups(weight, hessian, bits, group_size, damping)`: uint8 codes, "
        "float32 scales and uint8 zero-points `[rows, groups]`.",
        expected=gptq_groups,
        cases=_groups_cases(seed),
        mistakes={
            **{diagnosis: spoilt(rule) for diagnosis, rule in rules.items()},
            "Nothing moves: this is rounding to nearest.": (
                lambda w, h, b, g, d: nearest_groups(
                    torch.where(h.diagonal() == 0, 0.0, w.float()), b, g
                )
            ),
            "The last, shorter group is left out.": _dropped,
        },
        rtol=1e-3,
        atol=1e-6,
        hint="Dead inputs, then damping, then the factor, then column by column.",
    )

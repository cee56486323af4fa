"""Assignment 3: two weights by hand, a Hessian from batches, where free columns belong."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from qlearn.assignments.shared.cases import generator_of
from qlearn.teach.checks.checker import Exercise

WEIGHTS = (0.4, 0.4)  # on the grid of whole numbers
DIAGONAL, OFF = 2.0, 1.8  # of their Hessian


def _loss(first: float, second: float) -> float:
    return 0.5 * (DIAGONAL * (first**2 + second**2) + 2 * OFF * first * second)


def _by_hand(moved: float) -> dict[str, object]:
    """Where the second weight moves to, and what follows from that."""
    errors = (WEIGHTS[0] - 0, WEIGHTS[1] - round(moved))
    return {
        "moved": moved,
        "codes": [0, round(moved)],
        "loss": _loss(*errors),
        "nearest_loss": _loss(*WEIGHTS),
    }


def make_by_hand(_: int) -> Exercise:
    """A prediction: the same for every seed."""
    error = WEIGHTS[0]
    right = _by_hand(WEIGHTS[1] + error * OFF / DIAGONAL)
    half = {**right, "loss": right["loss"] / 2}  # type: ignore[operator]
    return Exercise(
        id="a3.by_hand",
        task="Round the first weight, move the second to make it good, round that: fill in where "
        "it moves, both codes, the loss, and the loss of rounding each to nearest.",
        expected=right,
        mistakes={
            "The second weight moves the wrong way: the first lost 0.4, so the second must gain.": (
                _by_hand(WEIGHTS[1] - error * OFF / DIAGONAL)
            ),
            "The second weight moves by the whole error. It makes good only the correlated part, "
            "1.8 / 2 of it.": {**right, "moved": WEIGHTS[1] + error},
            "The move is not divided by the diagonal, 2.": {
                **right,
                "moved": WEIGHTS[1] + error * OFF,
            },
            "The correlation is turned over: 1.8 / 2, not 2 / 1.8.": {
                **right,
                "moved": WEIGHTS[1] + error * DIAGONAL / OFF,
            },
            "This is the move. Where does the second weight stand after it?": {
                **right,
                "moved": error * OFF / DIAGONAL,
            },
            "This is rounding to nearest: 0.76 rounds to 1.": {
                **right,
                "codes": [0, 0],
                "loss": right["nearest_loss"],
            },
            "The half is missing: the loss is half of e H e.": {
                **right,
                "loss": 2 * right["loss"],  # type: ignore[operator]
                "nearest_loss": 2 * right["nearest_loss"],  # type: ignore[operator]
            },
            "The loss is half as large: the two correlation terms are both counted.": half,
            "The loss lacks the correlation: e H e has two terms off the diagonal.": {
                **right,
                "loss": 0.4**2 + 0.6**2,
                "nearest_loss": 2 * 0.4**2,
            },
            "The two losses are swapped: GPTQ's is the smaller one.": {
                **right,
                "loss": right["nearest_loss"],
                "nearest_loss": right["loss"],
            },
        },
        rtol=0.01,
        atol=0.0,
        hint="Errors are given weight less rounded weight; the loss is half of e H e.",
    )


def _hessian(batches: list[Tensor], *, rule: str = "") -> Tensor:
    """2/n X^T X over all tokens; ``rule`` spoils one step."""
    flat = [batch.reshape(-1, batch.shape[-1]) for batch in batches]
    wide = [batch.float() for batch in flat]
    if rule == "narrow":
        return torch.stack([(2 * b.T @ b).float() for b in flat]).sum(0) / sum(map(len, flat))
    if rule == "sequences":
        wide = [batch.float().reshape(-1, batch.shape[-1]) for batch in batches]
        n = sum(b.shape[0] if b.dim() == 3 else len(b) for b in batches)
        return 2 / n * sum(b.T @ b for b in wide)  # type: ignore[return-value]
    if rule == "last":
        wide = wide[-1:]
    joined = torch.cat(wide)
    if rule == "mean of batches":
        return torch.stack([2 / len(b) * b.T @ b for b in wide]).mean(0)
    if rule == "batches":
        return 2 / len(batches) * joined.T @ joined
    if rule == "centred":
        joined = joined - joined.mean(0)
    if rule == "outer":
        return 2 / len(joined) * joined @ joined.T
    if rule == "diagonal":
        return torch.diag(2 / len(joined) * joined.square().sum(0))
    factor = {"one": 1.0, "undivided": 2.0 * len(joined), "unbiased": 2.0 * len(joined)}
    n = len(joined) - (rule == "unbiased")
    return (
        factor.get(rule, 2.0) / n * joined.T @ joined / (len(joined) if rule == "unbiased" else 1)
    )


def hessian(batches: list[Tensor]) -> Tensor:
    """The reference of a3.hessian."""
    return _hessian(batches)


HESSIAN_PARTS = (
    "one batch",
    "batches of different sizes",
    "sequences [batch, tokens, features]",
    "sequences [batch, tokens, features]",
    "one feature",
    "float16 batches",
    "a feature that is always 0",
)


def _hessian_cases(seed: int) -> list[tuple[list[Tensor]]]:
    generator = generator_of(seed, 31)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) + 0.3

    dead = [normal(6, 4), normal(9, 4)]
    for batch in dead:
        batch[:, 2] = 0.0
    return [
        ([normal(8, 3)],),
        ([normal(4, 5), 2 * normal(20, 5), normal(1, 5)],),
        ([normal(2, 6, 4), normal(3, 4, 4)],),
        ([normal(5, 7, 3)],),
        ([normal(4, 1), normal(2, 1)],),
        ([(300 * normal(10, 3)).half(), (300 * normal(4, 3)).half()],),
        (dead,),
    ]


def make_hessian(seed: int) -> Exercise:
    """Batches of many shapes."""
    rules = {
        "The mean of the batches' Hessians lets a short batch count as much as a long one: sum "
        "first, divide by all tokens.": "mean of batches",
        "The factor 2 is missing.": "one",
        "The sum is not divided by the number of tokens.": "undivided",
        "The sum is divided by the number of batches, not of tokens.": "batches",
        "Sequences are counted, not tokens: each row of `[batch, tokens, features]` has many.": (
            "sequences"
        ),
        "The mean was taken off. It is no covariance: GPTQ needs the inputs as they are.": (
            "centred"
        ),
        "This is X X^T, tokens by tokens. The Hessian is features by features.": "outer",
        "Only the last batch counts: add the batches up.": "last",
        "Only the diagonal is there. What GPTQ lives on stands beside it.": "diagonal",
        "The products are taken in float16, which overflows: convert to float32 first.": "narrow",
    }

    def spoilt(rule: str) -> Callable[[list[Tensor]], Tensor]:
        return lambda batches: _hessian(batches, rule=rule)

    return Exercise(
        id="a3.hessian",
        task="Write `hessian(batches)`: `2/n X^T X` in float32, X all n tokens of all batches.",
        expected=hessian,
        cases=_hessian_cases(seed),
        mistakes={diagnosis: spoilt(rule) for diagnosis, rule in rules.items()},
        rtol=1e-4,
        atol=1e-4,
        hint="Flatten all but the last dimension, add up x.T @ x and tokens, divide at the end.",
    )


def _free(weight: Tensor, done: Tensor, hessian: Tensor, *, rule: str = "") -> Tensor:
    """Where the free columns belong; ``rule`` spoils one step."""
    k = done.shape[1]
    wide, h = weight.double(), hessian.double()
    error = wide[:, :k] - done.double()
    if rule == "last":
        error = torch.cat((torch.zeros_like(error[:, :-1]), error[:, -1:]), 1)
    across, own = h[:k, k:], h[k:, k:]
    if rule == "diagonal":
        own = torch.diag(own.diagonal())
    if rule == "frozen":  # what solves for the frozen columns
        move = error @ torch.linalg.inv(h[:k, :k]) @ across
    elif rule == "not inverted":
        move = error @ across
    elif rule == "multiplied":
        move = error @ across @ own
    elif rule == "inverse":
        move = error @ torch.linalg.inv(h)[:k, k:]
    elif rule == "stale":
        whole = torch.linalg.inv(h)
        move = -(error / whole.diagonal()[:k]) @ whole[:k, k:]
    else:
        move = error @ across @ torch.linalg.inv(own)
    if rule == "sign":
        move = -move
    if rule == "move":
        return move.float()
    if rule == "nothing":
        return weight[:, k:].clone()
    if rule == "all":
        return torch.cat((done.double(), wide[:, k:] + move), 1).float()
    return (wide[:, k:] + move).float()


def free(weight: Tensor, done: Tensor, hessian: Tensor) -> Tensor:
    """The reference of a3.free."""
    return _free(weight, done, hessian)


def correlated(size: int, generator: torch.Generator, strength: float = 0.7) -> Tensor:
    """A Hessian of correlated inputs, float32 ``[size, size]``, well conditioned."""
    mixing = torch.randn(size, size, generator=generator, dtype=torch.float64)
    inputs = torch.randn(6 * size, size, generator=generator, dtype=torch.float64)
    inputs = inputs @ (torch.eye(size, dtype=torch.float64) + strength * mixing)
    result = 2 / len(inputs) * inputs.T @ inputs
    result += 0.05 * result.diagonal().mean() * torch.eye(size, dtype=torch.float64)
    return result.float()


FREE_PARTS = (
    "one column done",
    *["several columns done"] * 3,
    "one column free",
    "float16 weights",
)


def _free_cases(seed: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    generator = generator_of(seed, 32)
    cases: list[tuple[Tensor, Tensor, Tensor]] = []
    for rows, size, k in ((1, 3, 1), (2, 4, 2), (3, 6, 3), (4, 9, 5), (2, 5, 4), (2, 5, 2)):
        weight = torch.randn(rows, size, generator=generator)
        if len(cases) == 5:
            weight = weight.half()
        done = weight[:, :k].float().mul(2).round() / 2 + 0.25
        cases.append((weight, done, correlated(size, generator)))
    return cases


def make_free(seed: int) -> Exercise:
    """From one column done to all but one."""
    rules = {
        "The free columns move the wrong way, and double the damage.": "sign",
        "The frozen columns' block is inverted: the free columns' own block `H[k:, k:]` must be.": (
            "frozen"
        ),
        "The free columns' block is not inverted at all.": "not inverted",
        "You multiply by the free columns' block: divide by it, that is, solve.": "multiplied",
        "You take a block of the whole inverse: invert `H[k:, k:]` alone.": "inverse",
        "This is the stale rule: the whole inverse, a column at a time, as if the frozen columns "
        "could still move.": "stale",
        "Only the last column's error is made good: all frozen columns' errors count.": "last",
        "The free columns' correlations among themselves are left out: use the block, not its "
        "diagonal.": "diagonal",
        "These are the moves: add them to the free columns.": "move",
        "Nothing moves.": "nothing",
        "These are all columns: return the free ones.": "all",
    }

    def spoilt(rule: str) -> Callable[..., Tensor]:
        return lambda w, d, h: _free(w, d, h, rule=rule)

    return Exercise(
        id="a3.free",
        task="Write `best_free(weight, done, hessian)`: the free columns, at the place that makes "
        "the loss smallest while the first k columns stand at `done`; float32 `[rows, n - k]`.",
        expected=free,
        cases=_free_cases(seed),
        mistakes={diagnosis: spoilt(rule) for diagnosis, rule in rules.items()},
        rtol=1e-3,
        atol=1e-4,
        hint="Set the loss's derivative by the free columns' errors to zero, and solve.",
    )

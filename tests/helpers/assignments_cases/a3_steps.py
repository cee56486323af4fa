"""Answers to assignment 3: by_hand, hessian, free, smallest, witness."""

from assignments_cases import spoil
from assignments_cases.a3_right import (
    BY_HAND,
    FREE,
    FREE_ROWS,
    HESSIAN,
    HESSIAN_CAT,
    WITNESS,
    WITNESS_BUILT,
    handed,
)

CASES = {
    "a3.by_hand": {
        "right": [
            BY_HAND,
            "by_hand = dict(moved=0.76, codes=[0, 1], loss=0.088, nearest_loss=0.608)",
        ],
        "wrong": [
            (
                spoil(
                    BY_HAND,
                    ("0.4 + 0.4 *", "0.4 - 0.4 *"),
                    ("[0, 1]", "[0, 0]"),
                    ("0.4 - 1", "0.4"),
                ),
                "wrong way",
            ),
            (spoil(BY_HAND, (" * 1.8 / 2\n", "\n")), "whole error"),
            (spoil(BY_HAND, (" * 1.8 / 2\n", " * 1.8\n")), "not divided"),
            (spoil(BY_HAND, (" * 1.8 / 2\n", " * 2 / 1.8\n")), "turned over"),
            (spoil(BY_HAND, ("0.4 + 0.4 *", "0.4 *")), "This is the move"),
            (spoil(BY_HAND, ("[0, 1]", "[0, 0]"), ("0.4 - 1", "0.4")), "rounding to nearest"),
            (spoil(BY_HAND, ("0.5 *", "1.0 *")), "half is missing"),
            (spoil(BY_HAND, (" + 2 * 1.8 * a * b", "")), "lacks the correlation"),
            (spoil(BY_HAND, ("loss(0.4, 0.4 - 1)", "loss(0.4, 0.4 - 1) / 2")), "both counted"),
            (
                spoil(BY_HAND, ("0.4 - 1)", "9)"), ("0.4, 0.4)", "0.4, 0.4 - 1)"), ("9)", "0.4)")),
                "are swapped",
            ),
        ],
    },
    "a3.hessian": {
        "right": [HESSIAN, HESSIAN_CAT],
        "wrong": [
            (
                spoil(
                    HESSIAN,
                    ("x.T @ x\n", "x.T @ x / len(x)\n"),
                    ("n += x.shape[0]", "n += 1"),
                ),
                "short batch count as much",
            ),
            (spoil(HESSIAN, ("return 2 *", "return")), "factor 2"),
            (spoil(HESSIAN, (" / n", "")), "not divided"),
            (spoil(HESSIAN, ("x.shape[0]", "1")), "number of batches"),
            (spoil(HESSIAN, ("n += x.shape[0]", "n += batch.shape[0]")), "Sequences are counted"),
            (
                spoil(HESSIAN_CAT, (".double()\n", ".double()\n    x = x - x.mean(0)\n")),
                "mean was taken off",
            ),
            (spoil(HESSIAN_CAT, ('"ti,tj->ij"', '"ti,si->ts"')), "tokens by tokens"),
            (spoil(HESSIAN, ("in batches", "in batches[-1:]")), "Only the last batch"),
            (
                spoil(HESSIAN, ("return 2 * total / n", "return torch.diag(2 * total.diag() / n)")),
                "Only the diagonal",
            ),
            (
                spoil(
                    HESSIAN,
                    ("batch.float()", "batch"),
                    ("return 2 * total / n", "return 2 * total.float() / n"),
                    ("x.T @ x", "(2 * x.T @ x).float() / 2"),
                ),
                "overflows",
            ),
        ],
    },
    "a3.free": {
        "right": [FREE, FREE_ROWS],
        "wrong": [
            (spoil(FREE, ("+ moves", "- moves")), "wrong way"),
            (
                spoil(
                    FREE,
                    (
                        "torch.linalg.solve(H[k:, k:], H[k:, :k] @ error.T).T",
                        "error @ torch.linalg.inv(H[:k, :k]) @ H[:k, k:]",
                    ),
                ),
                "frozen columns' block is inverted",
            ),
            (
                spoil(
                    FREE,
                    ("torch.linalg.solve(H[k:, k:], H[k:, :k] @ error.T).T", "error @ H[:k, k:]"),
                ),
                "not inverted at all",
            ),
            (
                spoil(
                    FREE,
                    (
                        "torch.linalg.solve(H[k:, k:], H[k:, :k] @ error.T).T",
                        "error @ H[:k, k:] @ H[k:, k:]",
                    ),
                ),
                "divide by it",
            ),
            (
                spoil(
                    FREE,
                    (
                        "torch.linalg.solve(H[k:, k:], H[k:, :k] @ error.T).T",
                        "error @ torch.linalg.inv(H)[:k, k:]",
                    ),
                ),
                "block of the whole inverse",
            ),
            (
                spoil(
                    FREE,
                    (
                        "torch.linalg.solve(H[k:, k:], H[k:, :k] @ error.T).T",
                        "-sum(error[:, i : i + 1] * G[i, k:] / G[i, i] for i in range(k))",
                    ),
                    (
                        "    moves",
                        "    G = torch.linalg.inv(H)\n    moves",
                    ),
                ),
                "stale rule",
            ),
            (spoil(FREE, ("    moves", "    error[:, :-1] = 0\n    moves")), "all frozen columns"),
            (
                spoil(
                    FREE,
                    (
                        "solve(H[k:, k:], H[k:, :k] @ error.T).T",
                        "solve(H[k:, k:].diag().diag(), H[k:, :k] @ error.T).T",
                    ),
                ),
                "not its diagonal",
            ),
            (spoil(FREE, ("(weight[:, k:] + moves)", "moves")), "These are the moves"),
            (spoil(FREE, ("(weight[:, k:] + moves).float()", "weight[:, k:]")), "dtype float64"),
            (
                spoil(
                    FREE, ("(weight[:, k:] + moves)", "torch.cat([done, weight[:, k:] + moves], 1)")
                ),
                "all columns",
            ),
        ],
    },
    "a3.smallest": {
        "right": [
            "smallest = {'columns': 3, 'wrong_moves': 3}",
            "smallest = dict(wrong_moves=sum(range(3)), columns=2 + 1)",
        ],
        "wrong": [
            (f"smallest = {{'columns': {a}, 'wrong_moves': {b}}}", words)
            for a, b, words in (
                (2, 3, "With 2 columns"),
                (1, 3, "With one column"),
                (4, 3, "3 columns are enough"),
                (3, 6, "still fresh"),
                (3, 2, "2 into 3, 2 into 4"),
                (3, 1, "More than one move"),
                (2, 2, "Count the moves"),
                (3, 4, "last column moves nothing"),
            )
        ],
    },
    "a3.witness": {
        "right": [WITNESS, WITNESS_BUILT],
        "wrong": [
            (handed(WITNESS, "(weight, hessian.diag().diag(), scale, zero_point)"), "uncorrelated"),
            (handed(WITNESS, "(weight, hessian.triu(), scale, zero_point)"), "not symmetric"),
            (handed(WITNESS, "(weight, -hessian, scale, zero_point)"), "not positive definite"),
            (
                handed(
                    WITNESS,
                    "(weight, hessian + 1e8 * torch.eye(columns)[0].diag(), *problem[2:])",
                ),
                "hardly be inverted",
            ),
            (handed(WITNESS, "(weight, hessian, -scale, zero_point)"), "0 or negative"),
            (handed(WITNESS, "(weight, hessian, scale, zero_point + 100)"), "no 3-bit code"),
            (
                handed(WITNESS, "(weight.repeat(2, 1), hessian, scale, zero_point)"),
                "more than one row",
            ),
            (handed(WITNESS, "(weight, hessian, scale[0, 0], zero_point)"), "no dimensions"),
            (
                spoil(
                    WITNESS, ("bad > 1.1 * good", "bad < good or columns == 3 and bad > 1.1 * good")
                ),
                "by luck",
            ),
            (handed(WITNESS, "given(*problem, 3)"), "for an input"),
            (
                (
                    "def witness(columns):\n    x = torch.eye(columns)\n"
                    "    return torch.zeros(1, columns), x, torch.ones(1, 1), torch.ones(1, 1)"
                ),
                "stand on the grid",
            ),
        ],
    },
}

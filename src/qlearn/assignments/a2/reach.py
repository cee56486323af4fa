"""Assignment 2: how far an outlier reaches."""

from __future__ import annotations

from qlearn.teach.checks.checker import Exercise

ROWS, COLUMNS, GROUP = 48, 96, 16  # the matrix of the prediction


def _reach(*, tensor: float, row: float, group: float) -> dict[str, float]:
    return {"tensor": tensor, "row": row, "group": group}


def make_reach(_: int) -> Exercise:
    """A prediction: the same for every seed."""
    total = ROWS * COLUMNS
    right = _reach(tensor=1.0, row=1 / ROWS, group=GROUP / total)
    return Exercise(
        id="a2.reach",
        task=f"One weight of a {ROWS} x {COLUMNS} matrix grows tenfold. Predict the share of all "
        f"weights whose step grows with it: one scale a tensor, a row, a group of {GROUP}.",
        expected=right,
        mistakes={
            "These are columns: a row's 96 weights are 1 of 48 rows.": _reach(
                tensor=1.0, row=1 / COLUMNS, group=GROUP / total
            ),
            "These are counts of weights. Divide by all 4608 for a share.": _reach(
                tensor=total, row=COLUMNS, group=GROUP
            ),
            "These are percentages. A share runs from 0 to 1.": _reach(
                tensor=100.0, row=100 / ROWS, group=100 * GROUP / total
            ),
            "This is the group's share of its row. The share of all weights is asked for.": _reach(
                tensor=1.0, row=1 / ROWS, group=GROUP / COLUMNS
            ),
            "A group of 16 is 16 weights of one row, not 16 rows.": _reach(
                tensor=1.0, row=1 / ROWS, group=GROUP / ROWS
            ),
            "You count the grown weight alone, but its whole group shares the scale.": _reach(
                tensor=1.0, row=1 / ROWS, group=1 / total
            ),
            "With one scale for the tensor every step grows, not the outlier's alone.": _reach(
                tensor=1 / total, row=1 / ROWS, group=GROUP / total
            ),
            "This is what is spared. The share that is hit is asked for.": _reach(
                tensor=0.0, row=1 - 1 / ROWS, group=1 - GROUP / total
            ),
            "These are how many there are of each: turn them over.": _reach(
                tensor=1.0, row=ROWS, group=total / GROUP
            ),
        },
        rtol=0.02,
        atol=0.0,
        hint="How many weights share the outlier's scale, out of how many?",
    )

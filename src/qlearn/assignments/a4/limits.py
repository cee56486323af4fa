"""Assignment 4's prediction: one column of a group grows, and then the group's step does."""

from __future__ import annotations

from qlearn.teach.checks.checker import Exercise

GROUP = (0.30, -0.10, 1.20, -0.60, 0.24, -1.05, 0.80, 0.45)  # the notebook shows it
SALIENT = 0
FACTOR = 8.0


def limits(
    group: tuple[float, ...] = GROUP, salient: int = SALIENT, s: float = FACTOR
) -> list[float]:
    """What growing one weight does to a symmetric group.

    Returns:
        The largest factor that leaves the group's step as it is; by how much the step is larger at
        ``s``; the error that the grown column leaves in the output at ``s``, relative to before;
        the same of each other column.
    """
    largest = max(abs(weight) for weight in group)
    threshold = largest / abs(group[salient])
    growth = max(1.0, s / threshold)
    return [threshold, growth, growth / s, growth]


def make_limits(_: int) -> Exercise:
    """The same at every seed: the notebook shows its numbers."""
    threshold, growth, own, others = limits()
    return Exercise(
        id="a4.limits",
        task="Weight 0 of GROUP is multiplied by s, its input divided by s. Give "
        "[largest s that leaves the step as it is, factor of the step at s = 8, factor of the "
        "error that column 0 leaves in the output at s = 8, the same factor of every other "
        "column].",
        expected=[threshold, growth, own, others],
        mistakes={
            "The step does not stay: at s = 8 the grown weight is the group's largest, and the "
            "step follows it.": [threshold, 1.0, 1 / FACTOR, 1.0],
            "The step grows by as much as the largest weight grows, from 1.2 to 2.4, not by s.": [
                threshold,
                FACTOR,
                1.0,
                FACTOR,
            ],
            "Column 0's rounding error grows with the step, but then meets an input that is 8 "
            "times smaller: divide by 8.": [threshold, growth, growth, others],
            "These are factors of the squared error; the error itself is asked for.": [
                threshold,
                growth,
                own**2,
                others**2,
            ],
            "The other columns share the step of column 0: their errors grow with it.": [
                threshold,
                growth,
                own,
                1.0,
            ],
            "The other columns' inputs are not divided: only column 0 has a factor s.": [
                threshold,
                growth,
                own,
                own,
            ],
            "The first factor is upside down: largest weight over weight 0.": [
                1 / threshold,
                growth,
                own,
                others,
            ],
            "The group's largest weight is found by magnitude, and it is 1.2, not -1.05.": [
                1.05 / 0.30,
                FACTOR * 0.30 / 1.05,
                0.30 / 1.05,
                FACTOR * 0.30 / 1.05,
            ],
            "Column 0 gains, it does not lose: its error falls.": [
                threshold,
                growth,
                1 / own,
                others,
            ],
            "The threshold is not s itself: the step stays until weight 0 reaches 1.2.": [
                FACTOR,
                growth,
                own,
                others,
            ],
        },
        rtol=0.01,
        atol=0.0,
        hint="The step is the largest magnitude over 7. Find where weight 0 becomes the largest.",
    )

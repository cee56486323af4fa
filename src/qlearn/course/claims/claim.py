"""One claim of the article: in our words, with its rule, its evidence, and where it is shown.

``@claim(...)`` stands above the function that is its rule, in :mod:`qlearn.course.claims.rules`.
The rules were written down before the measurements they judge, with the thresholds of
:mod:`qlearn.course.claims.thresholds`. Those on results of earlier chapters were written with those
results known.

Words in the rules: *kept* is the float model's perplexity over the quantized one's, or the
quantized model's accuracy over the float one's, on tasks that the float model solved. *Plain* tasks
are copy, reverse, recall and agree; *arithmetic* ones add2, add3, add4, add3r and mul. *At b bits*
is the mean over the rows of round-to-nearest, GPTQ and AWQ with b bits in the quality table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qlearn.course.claims.common import ClaimVerdict, Results
from qlearn.course.claims.links import Link
from qlearn.course.claims.thresholds import Thresholds

KINDS = ("measured", "computed", "source")
LATE = ("memory", "batching", "choosing", "harness", "tools")  # measured after the rules
Rule = Callable[[Results, Thresholds], ClaimVerdict]


@dataclass(frozen=True)
class Claim:
    """One claim and how it is judged.

    Attributes:
        number: 1 to 40, in the order of the article.
        text: the claim, in our words.
        kind: ``"measured"`` here, ``"computed"`` from sizes, or from a primary ``"source"``.
        rule: what gives which verdict.
        shown: the heading under which its evidence is shown.
        judge: the rule as a function.
        needs: results files that the rule reads; ``"quality"`` is the quality table, ``"evidence"``
            all losses that recommendations rest on.
    """

    number: int
    text: str
    kind: str
    rule: str
    shown: Link
    judge: Rule
    needs: tuple[str, ...] = ()

    @property
    def blind(self) -> bool:
        """Whether all that the rule reads was measured after the rule was written."""
        return bool(self.needs) and set(self.needs) <= {*LATE}


_STATED: dict[int, Claim] = {}


def claim(
    number: int, text: str, *, kind: str, rule: str, shown: Link, needs: tuple[str, ...] = ()
) -> Callable[[Rule], Rule]:
    """State a claim above the function that judges it.

    Raises:
        ValueError: a number that is taken, or an unknown kind.
    """
    if number in _STATED:
        raise ValueError(f"number={number} is taken by {_STATED[number].text!r}; number it anew")
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is not known; choose one of {', '.join(KINDS)}")

    def state(judge: Rule) -> Rule:
        _STATED[number] = Claim(number, text, kind, rule, shown, judge, needs)
        return judge

    return state


def stated() -> tuple[Claim, ...]:
    """All claims of the modules that are imported, by number."""
    return tuple(_STATED[number] for number in sorted(_STATED))

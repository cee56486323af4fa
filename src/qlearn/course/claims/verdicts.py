"""The article's forty claims, each with its verdict: computed, not typed.

``check_claims()`` reads the results files and applies each claim's rule; ``claims_table()`` shows
the outcome. Feed other results, and the table changes with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Any

from qlearn.course.claims import rules
from qlearn.course.claims.claim import Claim, Rule, stated
from qlearn.course.claims.common import ClaimVerdict, Results
from qlearn.course.claims.html import ClaimsTable
from qlearn.course.claims.links import Link
from qlearn.course.claims.thresholds import STATED, Thresholds
from qlearn.measure import results
from qlearn.measure.choose.evidence import all_evidence
from qlearn.measure.choose.quality import quality_table

__all__ = [
    "CLAIMS",
    "RULES",
    "Checked",
    "ClaimVerdict",
    "check_claims",
    "claims_table",
    "load_results",
]

PUBLISHED = Path(__file__).with_name("published.json")

for _module in iter_modules(rules.__path__):  # each states its claims
    import_module(f"{rules.__name__}.{_module.name}")
CLAIMS = stated()
RULES: Mapping[int, Rule] = MappingProxyType({one.number: one.judge for one in CLAIMS})


@dataclass(frozen=True)
class Checked:
    """A claim with its verdict.

    Attributes:
        claim: what is claimed, and the rule.
        verdict: what the rule says.
        evidence: where it is shown.
        sources: titles and addresses: results files measured here, then published figures.
    """

    claim: Claim
    verdict: ClaimVerdict
    evidence: Link
    sources: tuple[tuple[str, str], ...]


def load_results(names: Iterable[str] | None = None) -> dict[str, Any]:
    """What the rules read: results files by name, the quality table, the published figures.

    Args:
        names: results files; all that some rule needs, where left out.

    Raises:
        OSError: a file is missing or damaged.
    """
    wanted = {*names} if names is not None else {name for one in CLAIMS for name in one.needs}
    found: dict[str, Any] = {"published": published()}
    for name in sorted(wanted):
        if name == "quality":
            found[name] = {"rows": [asdict(row) for row in quality_table()]}
        elif name == "evidence":
            found[name] = {"rows": all_evidence()}
        elif name != "published":
            found[name] = results.load(name)
    return found


@cache
def published() -> Mapping[str, Any]:
    """The primary sources' figures, each with title and address."""
    return MappingProxyType(json.loads(PUBLISHED.read_text(encoding="utf-8")))


def check_claim(
    number: int, results: Results | None = None, limits: Thresholds = STATED
) -> Checked:
    """One claim's verdict.

    Args:
        number: 1 to 40.
        results: as :func:`load_results` gives them; what the claim needs is loaded where left out.
        limits: the thresholds; see :func:`qlearn.course.claims.thresholds.limits_with`.

    Raises:
        ValueError: no such claim, or results that lack a row that the rule needs.
        OSError: a results file is missing or damaged.
    """
    if number not in RULES:
        raise ValueError(f"number={number!r} is no claim; choose 1 to {len(RULES)}")
    claim = CLAIMS[number - 1]
    read = load_results(claim.needs) if results is None else results
    verdict = claim.judge(read, limits)
    files = tuple((f"{name}.json", "") for name in claim.needs)
    papers = tuple((published()[key]["title"], published()[key]["url"]) for key in verdict.sources)
    return Checked(claim, verdict, claim.shown, files + papers)


def check_claims(results: Results | None = None, limits: Thresholds = STATED) -> list[Checked]:
    """All forty verdicts, in the article's order; arguments and errors as :func:`check_claim`."""
    read = load_results() if results is None else results
    return [check_claim(number, read, limits) for number in RULES]


def claims_table(checked: Iterable[Checked] | None = None) -> ClaimsTable:
    """The verdicts as a table that a notebook shows."""
    rows = list(checked) if checked is not None else check_claims()
    return ClaimsTable(
        tuple(
            (
                one.claim.number,
                one.claim.text,
                one.verdict.verdict,
                one.verdict.condition,
                one.verdict.figure,
                one.sources,
                one.evidence,
            )
            for one in rows
        )
    )

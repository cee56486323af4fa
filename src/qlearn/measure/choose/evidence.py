"""What quantizing cost a model, as measured here or published: the rows that a choice rests on.

Each row compares one figure before and after. Losses of different measures become comparable as
shares: by how much perplexity rose, or which part of the right answers was lost, those of blind
guessing left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from qlearn.measure.choose.pocket import KINDS as POCKET_KINDS
from qlearn.measure.choose.quality import FLOATS, Quality, find_level, quality_table
from qlearn.measure.memory.architectures import MODELS
from qlearn.measure.results import load
from qlearn.numerics.scheme import GroupSize, QuantScheme

PUBLISHED = Path(__file__).with_name("published_quality.json")
KINDS = ("text", "classification", "recall", "copying", "arithmetic", "code")
KV = "kv"  # the kind of a row on quantized keys and values
SOLVED = 0.9  # share of questions; a task that a float model has not learned tells nothing
POST_TRAINING = ("bfloat16", "rtn", "int8", "gptq", "awq", "awq+gptq", "nf4", "fp4")
_POCKET = {
    "copying": POCKET_KINDS["copying"],
    "recall": POCKET_KINDS["recall"],
    "arithmetic": (*POCKET_KINDS["sums"], *POCKET_KINDS["products"]),
}


@dataclass(frozen=True)
class Evidence:
    """One figure of one model, before and after.

    Attributes:
        model: as the catalogue or the source calls it.
        parameters: of the model.
        kind: of the work measured, one of :data:`KINDS`, or ``"kv"``.
        measure: in words.
        method: as :class:`qlearn.measure.choose.quality.Quality` names it.
        bits: of a weight; for ``"kv"`` of a key or value.
        group_size: as :class:`qlearn.QuantScheme` takes it.
        before: of the original.
        after: of the quantized model.
        rises: the figure rises as a model gets worse, as perplexity does.
        chance: what blind guessing reaches.
        source: the results file, or the publication.
    """

    model: str
    parameters: int
    kind: str
    measure: str
    method: str
    bits: int
    group_size: GroupSize
    before: float
    after: float
    rises: bool
    source: str
    chance: float = 0.0

    @property
    def loss(self) -> float:
        """The share lost, 0 where nothing was: see the module.

        >>> Evidence("m", 1, "text", "perplexity", "rtn", 4, None, 10.0, 11.0, True, "").loss
        0.1
        """
        if self.rises:
            lost = self.after / self.before - 1
        else:
            lost = 1 - (self.after - self.chance) / (self.before - self.chance)
        return round(max(0.0, lost), 6)

    @property
    def level(self) -> str:
        """The level in words: ``"AWQ at 4 bits, groups of 128"``."""
        name = {"bfloat16": "BF16", "int8": "LLM.int8()", "kivi": "KIVI"}.get(
            self.method, self.method.upper()
        )
        if self.bits == 16:
            return name
        group = f", groups of {self.group_size}" if isinstance(self.group_size, int) else ""
        return f"{name} at {self.bits} bits{group}"

    def __str__(self) -> str:
        return (
            f"{self.level} took {self.model} from {self.before:.4g} to {self.after:.4g} in "
            f"{self.measure} ({self.source})"
        )


@cache
def all_evidence() -> tuple[Evidence, ...]:
    """Every row, measured ones first."""
    return (*_measured(), *_sentiment(), *published())


def published(path: Path = PUBLISHED) -> tuple[Evidence, ...]:
    """The rows of ``published_quality.json``.

    Raises:
        OSError: a damaged file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return tuple(_published(row, content["sources"]) for row in content["rows"])
    except (KeyError, ValueError) as error:
        raise OSError(f"{path.name} is damaged ({error}); restore it with git checkout") from error


def _published(row: dict[str, Any], sources: dict[str, Any]) -> Evidence:
    source = sources[row["source"]]
    cited = f"arXiv {source['arxiv']}" if source["arxiv"] else source["url"]
    return Evidence(
        model=row["model"],
        parameters=row.get("parameters") or MODELS[row["model"]].parameters,
        kind=row["kind"],
        measure=row["measure"],
        method=row["method"],
        bits=row["bits"],
        group_size=row["group_size"],
        before=row["before"],
        after=row["after"],
        rises="perplexity" in row["measure"],
        source=f"{source['name']}, {cited}",
        chance=row.get("chance", 0.0),
    )


def _measured() -> Iterator[Evidence]:
    """The quality table: perplexity of each model's own text, answers of the pocket models."""
    for row in quality_table():
        if row.method not in POST_TRAINING:
            continue
        original = find_level(row.model, "float32")
        if row.perplexity and original.perplexity:
            yield _of(row, "text", "perplexity", original.perplexity, row.perplexity)
        if row.accuracy and original.accuracy:
            for kind, tasks in _POCKET.items():
                solved = [task for task in tasks if original.accuracy[task] >= SOLVED]
                if solved:
                    before, after = (
                        sum(accuracy[task] for task in solved) / len(solved)
                        for accuracy in (original.accuracy, row.accuracy)
                    )
                    yield _of(row, kind, f"right answers ({', '.join(solved)})", before, after)


def _of(row: Quality, kind: str, measure: str, before: float, after: float) -> Evidence:
    return Evidence(
        model=row.model,
        parameters=MODELS[row.model].parameters,
        kind=kind,
        measure=measure,
        method=row.method,
        bits=FLOATS.get(row.method, row.bits),
        group_size=row.group_size,
        before=before,
        after=after,
        rises=measure == "perplexity",
        source=f"results/{row.source}.json",
    )


def _sentiment() -> Iterator[Evidence]:
    """Movie reviews, good or bad: half of the answers are right by chance."""
    schemes = {
        str(scheme): scheme
        for bits in (8, 4, 3, 2)
        for scheme in (QuantScheme(bits, False, 64), QuantScheme(bits, True, None))
    }
    first, *rows = load("sentiment")["rows"]
    for row in rows:
        scheme = schemes[row["scheme"]]
        yield Evidence(
            "smollm2-135m", MODELS["smollm2-135m"].parameters, "classification",
            f"right answers on {row['reviews']:,} reviews", "rtn", scheme.bits, scheme.group_size,
            first["accuracy"], row["accuracy"], False, "results/sentiment.json", chance=0.5,
        )  # fmt: skip

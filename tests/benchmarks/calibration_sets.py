"""What calibration text does to GPTQ and AWQ: ``results/calibration_sets.json``.

1 to 128 sequences of editorials, and 32 of two other domains, judged on 6 rows of editorials. Of
the corpora only ``python-docs`` differs between versions of Python; the file records the version.
About half an hour on two cores that do nothing else. Rows that the file already holds are not
measured again: delete it to begin anew.

    python tests/benchmarks/calibration_sets.py
"""

from __future__ import annotations

from typing import Any

from _results import save
from rtn_quality import measure
from torch import Tensor, nn

from qlearn import QuantScheme, load_model, load_tokenizer, load_tokens
from qlearn.measure.evaluate import Remembered, remember
from qlearn.measure.results import load

ROWS = 6  # of the evaluation split
METHODS: dict[str, dict[str, Any]] = {
    "gptq": {"method": "gptq"},
    "awq": {"method": "awq"},
}
FOUR, THREE = QuantScheme(4, False, 64), QuantScheme(3, False, 64)
DOMAINS = ("movie-reviews", "python-docs")
SETS = [
    ("editorials", 32),
    *((domain, 32) for domain in DOMAINS),
    *(("editorials", sequences) for sequences in (1, 128)),
]
KEPT = ("scheme", "bits", "perplexity", "kl_divergence", "top1_agreement")
KEYS = ("method", "scheme", "corpus", "sequences")
COMMAND = "python tests/benchmarks/calibration_sets.py"


def run(
    model: nn.Module,
    reference: Remembered,
    tokens: Tensor,
    method: str,
    scheme: QuantScheme,
    calibration: Tensor | None,
) -> dict[str, Any]:
    """Quantize once and measure; without calibration text to nearest."""
    options = {}
    if calibration is not None:
        options = {"calibration": calibration, **METHODS[method]}
    row = measure(model, reference, tokens, scheme, **options)
    return {"method": method, **{name: row[name] for name in KEPT if name in row}}


def measured() -> list[dict[str, Any]]:
    """The rows that the file holds."""
    try:
        rows: list[dict[str, Any]] = load("calibration_sets")["rows"]
    except FileNotFoundError:
        return []
    return rows


def main() -> None:
    """Measure every set."""
    model, tokenizer = load_model("smollm2-135m"), load_tokenizer("smollm2-135m")
    tokens = load_tokens(tokenizer, "editorials", "evaluation", sequences=ROWS)
    reference = remember(model, tokens)
    rows = measured()

    def add(method: str, scheme: QuantScheme, corpus: str | None, sequences: int) -> None:
        wanted = (method, str(scheme), corpus, sequences)
        if any(tuple(row[key] for key in KEYS) == wanted for row in rows):
            return
        text = load_tokens(tokenizer, corpus, "calibration", sequences) if corpus else None
        row = run(model, reference, tokens, method, scheme, text)
        rows.append({"corpus": corpus, "sequences": sequences, **row})
        print(rows[-1], flush=True)
        save(
            "calibration_sets",
            rows,
            command=COMMAND,
            evaluated_on="editorials",
            split="evaluation",
            rows_of_512=len(tokens),
        )

    for scheme in (FOUR, THREE):
        add("rtn", scheme, None, 0)
    for corpus, sequences in SETS:
        for method in METHODS:
            add(method, FOUR, corpus, sequences)


if __name__ == "__main__":
    main()

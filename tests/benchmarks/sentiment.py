"""Sentiment of 1,000 movie reviews, before and after rounding: ``results/sentiment.json``.

python tests/benchmarks/sentiment.py
"""

from __future__ import annotations

import torch
from _results import save

from qlearn import (
    QuantScheme,
    copy_for_quantization,
    load_model,
    load_reviews,
    load_tokenizer,
    quantize_model,
)
from qlearn.measure.evaluate import area_under_curve, sentiment_scores

REVIEWS = 1000
SCHEMES = [
    None,
    QuantScheme(8, True),
    QuantScheme(4, False, 64),
    QuantScheme(3, False, 64),
    QuantScheme(2, False, 64),
]


def pick(texts: list[str], ratings: list[float]) -> tuple[list[str], torch.Tensor]:
    """A seeded sample of the reviews and whether people found each favourable."""
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0))[
        :REVIEWS
    ].tolist()
    return [texts[i] for i in order], torch.tensor([ratings[i] for i in order]) > 0


def row(name: str, scores: torch.Tensor, favourable: torch.Tensor) -> dict[str, object]:
    """Accuracy with a cut at the median, its standard error, and the area under the curve."""
    accuracy = float(((scores > scores.median()) == favourable).double().mean())
    return {
        "scheme": name,
        "reviews": len(scores),
        "accuracy": round(accuracy, 4),
        "standard_error": round((accuracy * (1 - accuracy) / len(scores)) ** 0.5, 4),
        "area_under_curve": round(area_under_curve(scores, favourable), 4),
    }


def main() -> None:
    torch.set_num_threads(2)
    model, tokenizer = load_model("smollm2-135m"), load_tokenizer("smollm2-135m")
    texts, favourable = pick(*load_reviews())
    rows = []
    for scheme in SCHEMES:
        copy = copy_for_quantization(model)
        if scheme is not None:
            quantize_model(copy, scheme=scheme, progress=False)
        name = "float32" if scheme is None else str(scheme)
        rows.append(row(name, sentiment_scores(copy, tokenizer, texts), favourable))
        print(rows[-1], flush=True)
    save("sentiment", rows, command="python tests/benchmarks/sentiment.py")


if __name__ == "__main__":
    main()

"""The review task: one review at a time as the oracle, and a curve worked by hand."""

import pytest
import torch

from qlearn.sentiment import PROMPT, WORDS, area_under_curve, sentiment_scores


@pytest.mark.model
def test_batches_equal_one_review_at_a_time(smollm, tokenizer):
    texts = ["A joy.", "Dull, long and loud; I left before the end of it.", "It is fine, I suppose."]
    scores = sentiment_scores(smollm, tokenizer, texts, batch_size=3)
    words = [tokenizer(word)["input_ids"][0] for word in WORDS]
    for text, score in zip(texts, scores, strict=True):
        ids = tokenizer(PROMPT.format(text=text), return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            log_p = smollm(ids).logits[0, -1].log_softmax(-1)
        assert float(score) == pytest.approx(float(log_p[words[0]] - log_p[words[1]]), abs=1e-3)
    assert scores[0] > scores[1]


def test_curve_by_hand():
    positive = torch.tensor([True, True, False, False])
    assert area_under_curve(torch.tensor([3.0, 1.0, 2.0, 0.0]), positive) == 0.75
    assert area_under_curve(torch.tensor([1.0, 1.0, 1.0, 1.0]), positive) == 0.5
    assert area_under_curve(torch.tensor([0.0, 1.0, 2.0, 3.0]), positive) == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: area_under_curve(torch.zeros(3), torch.zeros(2, dtype=torch.bool)), "one length"),
        (lambda: area_under_curve(torch.zeros(2), torch.ones(2, dtype=torch.bool)), "both classes"),
        (lambda: sentiment_scores(None, None, []), "texts holds 0 reviews"),
        (lambda: sentiment_scores(None, None, ["a", " "]), "some of them empty"),
        (lambda: sentiment_scores(None, None, ["a"], batch_size=0), "batch_size=0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()

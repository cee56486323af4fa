"""Answers scored by likelihood: one plain pass for each prompt and candidate is the oracle."""

import pytest
import torch

from qlearn.measure.evaluate import (
    accuracy,
    answer_log_likelihoods,
    area_under_curve,
    sentiment_scores,
)


class Letters:
    """A tokenizer whose tokens are characters."""

    def __call__(self, text, add_special_tokens=True):
        return {"input_ids": ([1] if add_special_tokens else []) + [ord(c) for c in text]}


PROMPTS = ["short", "a longer prompt than that", "mid one", "short"]
ANSWERS = [" b", " bad", " badly", "x"]


@pytest.mark.parametrize("at_once", [1, 60, 4096])
def test_answers_equal_one_pass_each(tiny_llama, monkeypatch, at_once):
    monkeypatch.setattr("qlearn.measure.answers._TOKENS_AT_ONCE", at_once)
    monkeypatch.setattr("qlearn.measure.answers._POSITIONS", 5)
    found = answer_log_likelihoods(tiny_llama, Letters(), PROMPTS, ANSWERS)
    for row, prompt in enumerate(PROMPTS):
        for column, answer in enumerate(ANSWERS):
            head = [1, *map(ord, prompt)]
            tail = [ord(c) for c in answer]
            ids = torch.tensor([head + tail])
            with torch.no_grad():
                scores = tiny_llama(ids).logits[0].double().log_softmax(-1)
            steps = range(len(head), len(head) + len(tail))
            expected = sum(float(scores[i - 1, ids[0, i]]) for i in steps)
            assert float(found[row, column]) == pytest.approx(expected, abs=1e-4)


def test_sentiment_scores_are_a_difference_of_likelihoods(tiny_llama):
    found = sentiment_scores(tiny_llama, Letters(), ["good {x}", "bad"], prompt="<{review}>")
    pairs = answer_log_likelihoods(
        tiny_llama, Letters(), ["<good {x}>", "<bad>"], [" negative", " positive"]
    )
    assert torch.allclose(found, pairs[:, 1] - pairs[:, 0])


def test_accuracy_and_area_by_hand():
    scores = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0], [5.0, 4.0]])
    assert accuracy(scores, [1, 0, 0, 0]) == 0.75
    # Pairs (positive, negative): 3>1, 3>2, 2>1, 2=2 -> 3.5 of 4.
    assert area_under_curve(torch.tensor([1.0, 2.0, 2.0, 3.0]), [0, 0, 1, 1]) == 0.875
    assert area_under_curve(torch.tensor([1.0, 2.0, 2.0, 3.0]), [1, 1, 0, 0]) == 0.125


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: answer_log_likelihoods(m, Letters(), [], ["x"]), r"prompts=\[\] is not a list"),
        (lambda m: answer_log_likelihoods(m, Letters(), "text", ["x"]), "prompts='text' is not a"),
        (lambda m: answer_log_likelihoods(m, Letters(), ["a "], ["x"]), "ends in a space"),
        (lambda m: answer_log_likelihoods(m, Letters(), ["a"], [""]), "candidates has one without"),
        (lambda m: answer_log_likelihoods(m, Letters(), ["a" * 600], ["x"]), "the model reads 512"),
        (lambda m: answer_log_likelihoods(m, Letters(), ["a"], ["é"]), "ids 233 to 233"),
        (lambda m: sentiment_scores(m, Letters(), ["a"], "no place"), "has no place for the text"),
        (lambda _: accuracy(torch.ones(3), [0, 0, 0]), "one label a row"),
        (lambda _: accuracy(torch.ones(2, 2), [0, 2]), "whole numbers from 0 to 1"),
        (lambda _: accuracy(torch.full((1, 2), torch.nan), [0]), "scores holds NaN"),
        (lambda _: area_under_curve(torch.ones(3), [1, 1, 1]), "3 of 3 examples"),
        (lambda _: area_under_curve(torch.ones(3), [1, 0]), "one score and one label"),
    ],
)
def test_bad_answers(tiny_llama, call, message):
    with pytest.raises(ValueError, match=message):
        call(tiny_llama)

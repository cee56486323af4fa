"""A task of one's own for lm-evaluation-harness: its files, its error bars, its recorded rows."""

import json
import math
import statistics
from pathlib import Path

import pytest
import yaml

from qlearn import load_reviews
from qlearn.measure import harness, results
from qlearn.measure.answers import SENTIMENT_ANSWERS, SENTIMENT_PROMPT, sentiment_scores
from qlearn.measure.harness import (
    paired_difference,
    review_questions,
    run_harness,
    standard_error,
    write_task,
)

QUESTIONS = [{"review": 'A "fine" film {{x}}', "label": 1}, {"review": "Très mauvais.", "label": 0}]


def test_the_files_of_a_task(tmp_path):
    path = write_task(tmp_path / "new: folder", QUESTIONS)
    task = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert task["task"] == harness.TASK and task["output_type"] == "multiple_choice"
    data = task["dataset_kwargs"]["data_files"]["test"]
    lines = Path(data).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == QUESTIONS
    # The same words as qlearn's own scoring, so that both can be compared.
    assert task["doc_to_text"].replace("{{review}}", "{review}") == SENTIMENT_PROMPT
    choices = tuple(task["target_delimiter"] + choice for choice in task["doc_to_choice"])
    assert choices == SENTIMENT_ANSWERS
    assert task["doc_to_target"] == "label"


@pytest.mark.parametrize(
    ("questions", "remedy"),
    [
        ([], "review_questions"),
        ([{"review": "Fine.", "label": 2}], "0 .negative. or 1"),
        ([{"review": "", "label": 1}], "give each a 'review'"),
        ([{"label": 1}], "give each a 'review'"),
    ],
)
def test_bad_questions_are_refused(tmp_path, questions, remedy):
    with pytest.raises(ValueError, match=remedy):
        write_task(tmp_path / "task", questions)
    assert not (tmp_path / "task").exists()


@pytest.mark.model
def test_the_sample_of_reviews():
    questions = review_questions(300)
    assert questions == review_questions(1000)[:300] != review_questions(300, seed=1)
    rated = dict(zip(*load_reviews(), strict=True))
    for question in questions:
        assert question["label"] == (1 if rated[question["review"]] > 0 else 0)
    for count in (0, 20_000, 1.5, True):
        with pytest.raises(ValueError, match="1 to 10605"):
            review_questions(count)


def test_error_bars_against_the_standard_library():
    right = [True] * 13 + [False] * 7
    expected = statistics.stdev([1.0] * 13 + [0.0] * 7) / math.sqrt(20)
    assert standard_error(right) == pytest.approx(expected)
    before = [1, 1, 1, 0, 0, 1, 0, 1]
    after = [1, 0, 1, 1, 0, 0, 0, 1]
    found = paired_difference(before, after)
    steps = [b - a for a, b in zip(before, after, strict=True)]
    assert found.difference == pytest.approx(statistics.mean(steps))
    assert found.standard_error == pytest.approx(statistics.stdev(steps) / math.sqrt(8))
    apart = math.hypot(standard_error(before), standard_error(after))
    assert found.unpaired_standard_error == pytest.approx(apart)
    assert (found.lost, found.won) == (2, 1)


def test_how_far_a_difference_is_from_chance():
    same = paired_difference([1, 0, 1], [1, 0, 1])
    assert (same.difference, same.standard_error, same.standard_errors) == (0, 0, 0)
    assert paired_difference([1, 1], [0, 0]).standard_errors == math.inf
    few = paired_difference([1] * 50 + [0] * 50, [1] * 46 + [0] * 54)
    assert few.standard_errors == pytest.approx(0.04 / few.standard_error)
    assert few.standard_error < few.unpaired_standard_error / 3, "what pairing is for"
    with pytest.raises(ValueError, match="same questions"):
        paired_difference([1, 0], [1])
    with pytest.raises(ValueError, match="two at the least"):
        standard_error([True])


def test_a_folder_without_a_task(tmp_path):
    with pytest.raises(FileNotFoundError, match="write_task"):
        run_harness(None, None, tmp_path)


def recorded():
    return {row["precision"]: row for row in results.load("harness")["rows"]}


def test_recorded_rows_follow_from_their_answers():
    rows = recorded()
    assert list(rows) == ["FP32", "INT4 RTN", "INT4 GPTQ", "INT3 RTN"]
    first = [each == "1" for each in rows["FP32"]["right"]]
    for row in rows.values():
        right = [each == "1" for each in row["right"]]
        assert row["questions"] == len(right) == harness.REVIEWS
        assert row["accuracy"] == pytest.approx(sum(right) / len(right), abs=5e-5)
        assert row["standard_error"] == pytest.approx(standard_error(right), abs=1e-5)
        if row["precision"] == "FP32":
            assert row["difference"] is row["difference_standard_error"] is None
            continue
        found = paired_difference(first, right)
        assert row["difference"] == pytest.approx(found.difference, abs=5e-5)
        assert row["difference_standard_error"] == pytest.approx(found.standard_error, abs=1e-5)
        assert (row["lost"], row["won"]) == (found.lost, found.won)


@pytest.mark.model
@pytest.mark.slow
def test_our_own_scoring_answers_as_the_harness_does(smollm, tokenizer):
    """The first hundred questions once more, without the harness."""
    questions = review_questions(100)
    scores = sentiment_scores(smollm, tokenizer, [question["review"] for question in questions])
    right = [
        bool(score > 0) is (question["label"] == 1)
        for score, question in zip(scores, questions, strict=True)
    ]
    theirs = [each == "1" for each in recorded()["FP32"]["right"][:100]]
    # A score next to 0 may fall on the other side by another order of sums.
    assert sum(a is not b for a, b in zip(right, theirs, strict=True)) <= 2
    assert len(set(theirs)) == 2

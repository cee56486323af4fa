"""Questions: the score rule, the visible check, and the warm-up's own answers."""

import pytest
import torch

from qlearn.assignments import assignments, check, find, in_assignment
from qlearn.assignments.a0 import QUESTIONS
from qlearn.assignments.a2.groups import _is_clear
from qlearn.assignments.shared.cases import off_ties
from qlearn.assignments.shared.question import Question, points_for
from qlearn.teach.checks.checker import Verdict


def right(weights, bits):
    return torch.stack([row.abs().max() for row in weights]) / (2 ** (bits - 1) - 1)


def test_halves_are_rounded_down_and_only_a_pass_earns_all():
    def points(points, outcomes, kind="wrong"):
        return points_for(points, Verdict("a0.x", kind, "", outcomes=outcomes))

    assert points(3, (True, True, False)) == 2.0
    assert points(1, (True, True, False)) == 0.5
    assert points(5, (True,) * 99 + (False,)) == 4.5
    assert points(5, (True, True), "right") == 5.0
    assert points(5, (True, True), "wrong") == 4.5
    assert points(5, (True, False), "blank") == 0.0
    assert points(5, ()) == 0.0


def test_the_visible_check_says_points_and_parts():
    assert "3 of 3 points on the visible cases" in check("a0.step", right).message
    verdict = check("a0.step", lambda w, bits: right(w, bits) + (w.abs().sum() == 0))
    assert not verdict.passed
    assert "2 of 3 points" in verdict.message
    assert "rows of zeros 0 of 1" in verdict.message
    assert check("a0.step", ...).kind == "blank"


def test_each_listed_mistake_fails_with_its_own_diagnosis_at_every_seed():
    for question in QUESTIONS:
        for seed in (0, 1, 12345):
            exercise = question.exercise(seed)
            assert len(exercise.mistakes) >= 8
            for diagnosis, wrong in exercise.mistakes.items():
                mark = question.mark(wrong, seed)
                assert mark.verdict.diagnosis == diagnosis
                assert mark.points < question.points


def test_lists_earn_by_element():
    assert find("a0.levels").mark([8, 16, 255], 0).points == 1.0
    assert find("a0.levels").mark([8, 16, 256], 0).points == 2.0
    assert find("a0.levels").mark([8, 16], 0).points == 0.0


def test_unknown_names_are_told_the_nearest():
    with pytest.raises(ValueError, match=r"a0\.step"):
        find("a0.stop")
    with pytest.raises(ValueError, match="a0"):
        in_assignment("b7")


@pytest.mark.parametrize("field", [{"id": "step"}, {"points": 0}, {"answer": "a b"}, {"title": ""}])
def test_a_question_that_cannot_work_is_refused(field):
    fields = {name: getattr(QUESTIONS[0], name) for name in Question.__dataclass_fields__}
    with pytest.raises(ValueError, match=r"id=|points=|answer=|title"):
        Question(**{**fields, **field})


def test_the_notebooks_check_does_not_give_a_predicted_value_away():
    """One wrong try must not earn the points: the value is the same where it is graded."""
    shown = str(check("a1.by_hand", {"scale": 0.31, "zero_point": 5, "codes": [0, 3, 6, 7, 15]}))
    assert "Not right: `scale`. Right: `zero_point`, `codes`." in shown
    assert "1 of 2 points" in shown
    assert "0.2" not in shown
    listed = check("a1.noise", {"largest": 2, "mean_square": 4})
    assert "what many bits tend to" in str(listed)


def wrong_everywhere(expected):
    """A value of the same shape in which nothing is right."""
    if isinstance(expected, dict):
        return {key: wrong_everywhere(item) for key, item in expected.items()}
    if isinstance(expected, list):
        return [wrong_everywhere(item) for item in expected]
    return "no such thing" if isinstance(expected, str) else 12_345.5


def test_no_wrong_value_is_answered_with_the_right_one():
    tried = 0
    for question in (q for name in assignments() for q in in_assignment(name)):
        expected = question.exercise(0).expected
        if isinstance(expected, dict | list):
            tried += 1
            verdict = check(question.id, wrong_everywhere(expected))
            assert not verdict.passed
            assert not verdict.table
            assert "expected" not in verdict.message
    assert tried >= 8


# Seeds that a course drew and for which a real layer's own rows hold a near-tie.
@pytest.mark.parametrize("seed", [1_628_199_902, *range(1, 40)])
def test_every_seed_makes_cases_without_near_ties(seed):
    for question in ("a1.grid", "a1.codes", "a2.groups"):
        cases = find(question).make(seed).build_cases()
        assert len(cases) == len(find(question).parts)
    weight, scale, *_ = find("a1.codes").make(seed).build_cases()[-1]
    assert off_ties(weight / scale)
    assert _is_clear(find("a2.groups").make(seed).build_cases()[-1])

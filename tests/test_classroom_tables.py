"""The instructor guide's tables: from questions and results, and loud where these are wrong."""

import importlib.util
from pathlib import Path

import pytest

from qlearn import results
from qlearn.assignments import in_assignment
from qlearn.classroom.objectives import OBJECTIVES

pytest.importorskip("docutils")
pytest.importorskip("sphinx")

SOURCE = Path(__file__).parents[1] / "book" / "ext" / "classroom_tables.py"


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("classroom_tables", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def measured():
    row = {"seconds": 600.0, "submissions": 200, "hostile": 40, "wrong_scores": 0}
    return {"cores": 2, "rows": [row], "attacks": ["not JSON", "fork bomb"]}


def test_questions_and_their_sums(tables):
    *lines, total = tables.questions("a1")
    own = in_assignment("a1")
    assert [line[0] for line in lines] == [f"{k}. {q.title}" for k, q in enumerate(own, 1)]
    assert total[1] == str(sum(question.points for question in own))


def test_objectives_with_numbers_as_headings_show_them(tables):
    lines = {text: rest for text, *rest in tables.objectives()}
    assert len(lines) == len(OBJECTIVES)
    bytes_row = lines["Pack codes of any width into bytes without waste, and take them out again"]
    assert bytes_row == [(3,), "3.4, 3.5", "A1: 6, 7; A6: 3"]
    assert tables.question_numbers(()) == ""


def test_what_is_extrapolated_follows_from_what_was_measured(tables, measured):
    first, *others = tables.speeds(measured)
    assert first == ("200, 40 of them hostile", "2", "10", "measured")
    by_size = {(line[0], line[1]): line for line in others}
    assert by_size["1,000", "2"][2:] == ("50", "extrapolated")
    assert by_size["1,000", "32"][2] == "3"
    assert all(line[3] == "extrapolated" for line in others)


def test_attacks_are_stopped_only_where_every_score_was_right(tables, measured):
    assert tables.attacks(measured) == [("not JSON", "stopped"), ("fork bomb", "stopped")]
    measured["rows"][0]["wrong_scores"] = 1
    with pytest.raises(ValueError, match="1 wrong scores"):
        tables.attacks(measured)


def test_the_committed_class_was_graded_without_a_mistake(tables):
    committed = results.load("classroom")
    (row,) = committed["rows"]
    assert (row["submissions"], row["hostile"]) == (200, 40) == (200, len(committed["attacks"]))
    assert tables.attacks(committed)

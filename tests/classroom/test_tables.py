"""The instructor guide's tables: from questions and results, and loud where these are wrong."""

import importlib.util
import re
from pathlib import Path

import pytest

from qlearn.assignments import in_assignment
from qlearn.course.objectives import OBJECTIVES
from qlearn.measure import results

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "book" / "ext" / "classroom_tables.py"


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("classroom_tables", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def measured():
    row = {"seconds": 600.0, "submissions": 200, "hostile": 40, "wrong_scores": 0}
    return {"cores": 2, "rows": [row]}


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


def test_attacks_of_a_kind_with_what_they_earned(tables):
    row = {"kind": "machine", "tries": "forks", "stopped_by": "a filter", "outcome": "stopped"}
    tried = {"attack": "fork bomb", "earned": 26.0} | row
    tested = {"attack": "zip bomb", "test": "tests/test_x.py::test_y"} | row
    nobody = {"attack": "timing", "test": ""} | row | {"kind": "open", "outcome": "not tried"}
    results = {"points": 26, "rows": [tried, tested, nobody]}
    words = ("forks", "a filter", "stopped")
    assert tables.attacks(results, "machine") == [
        ("fork bomb", *words, "26 of 26"),
        ("zip bomb", *words, "a test: test_x"),
    ]
    assert tables.attacks(results, "open")[0][3:] == ("not tried", "-")
    with pytest.raises(ValueError, match="there are machine, open"):
        tables.attacks(results, "none")


def test_every_committed_attack_is_in_one_of_the_guides_tables(tables):
    guide = (ROOT / "book" / "instructor-guide.md").read_text(encoding="utf-8")
    kinds = re.findall(r"```\{attacks\} (\S+)", guide)
    committed = results.load("attacks")
    shown = [line[0] for kind in kinds for line in tables.attacks(committed, kind)]
    assert sorted(shown) == sorted(row["attack"] for row in committed["rows"])


def test_mutants_by_assignment_and_the_accepted_with_their_reasons(tables):
    rows = [
        {"question": "a1.x", "mutants": 3, "caught": 3, "accepted": []},
        {"question": "a2.x", "mutants": 5, "caught": 4, "accepted": ["a -> b"], "why": "Same."},
    ]
    assert tables.mutants({"rows": rows}) == [
        ("1", "1", "3", "3", "100.0%"),
        ("2", "1", "5", "4", "80.0%"),
        ("All", "2", "8", "7", "87.5%"),
    ]
    assert tables.accepted({"rows": rows}) == [("a2.x", "1", "Same.")]


def test_the_committed_class_was_graded_without_a_mistake(tables):
    committed = results.load("classroom")
    (row,) = committed["rows"]
    assert (row["submissions"], row["hostile"]) == (200, 40) == (200, len(committed["attacks"]))
    assert row["wrong_scores"] == 0

"""Attacks on grading: the committed table is of those there are, and the open ones do work."""

import re
from pathlib import Path

import pytest
from assignment_notebooks import solution
from assignments_cases import memorized
from classroom_room import needs_bubblewrap
from hostile_submissions import ATTACKS, ELSEWHERE, some

from qlearn.assignments import assignments, find, in_assignment
from qlearn.classroom.sandbox.sandbox import Room
from qlearn.classroom.sandbox.session import Session
from qlearn.measure.results import load

ROOT = Path(__file__).parents[2]
MOST = 10_000_000


def test_the_committed_table_has_every_attack_and_its_words(bench):
    rows = load("attacks")["rows"]
    earned = {row["attack"]: row["earned"] for row in rows if "earned" in row}
    assert [row["attack"] for row in rows] == [*ATTACKS, *ELSEWHERE]
    assert list(earned) == list(ATTACKS)
    assert rows == bench("classroom").attack_rows(earned)
    most = load("attacks")["points"]
    assert all(0 <= row["earned"] <= most for row in rows if "earned" in row)
    assert all(len(row["tries"]) > 3 and len(row["stopped_by"]) > 3 for row in rows)


def test_tests_that_the_table_names_are_there():
    for name, tried in ELSEWHERE.items():
        if not tried.test:
            assert tried.outcome == "not tried", name
            continue
        file, test = tried.test.split("::")
        assert re.search(rf"^def {test}\(", (ROOT / file).read_text(), re.MULTILINE), name


def test_a_class_gets_attacks_of_every_kind():
    chosen = some(40)
    assert len(set(chosen)) == 40
    assert {ATTACKS[name].kind for name in chosen} == {a.kind for a in ATTACKS.values()}
    assert some(1000) == tuple(ATTACKS)


def test_a_table_of_cases_is_worth_nothing_with_another_seed(one_thread):
    """Feedback shows the cases that counted: who hands in again after it knows them."""
    question, answer = find("a1.pack"), solution("a1")[0]["pack_int4"]
    known = memorized(answer, question.exercise(20_261).build_cases())
    assert question.mark(known, 20_261).points == question.points
    assert question.mark(known, 20_262).points <= question.points / 2


def test_predictions_can_be_read_from_the_package():
    values = [
        question
        for name in assignments()
        for question in in_assignment(name)
        if not question.exercise(0).is_function and question.id != "a6.entry"
    ]
    assert len(values) >= 9
    for question in values:
        assert question.mark(question.exercise(0).expected, 20_261).points == question.points


@needs_bubblewrap
@pytest.mark.slow
def test_feedback_shows_what_an_answer_is_called_with(tmp_path):
    from qlearn.classroom.sandbox.remote import RemoteFunction

    question = find("a0.step")
    source = "kept = []\ndef step(weights, bits):\n    kept.append(weights.tolist())"
    with Session(Room(), tmp_path) as session:
        session.run(source)
        found = session.look("step", 10, MOST)
        call = lambda arguments: session.call("step", arguments, 3, MOST)  # noqa: E731
        question.mark(RemoteFunction("step", found["parameters"], call), 20_261)
        (output,) = session.run("print(kept)")["outputs"]
    first = question.exercise(20_261).build_cases()[0][0]
    assert str(first.tolist()) in output["text"]


def test_without_isolation_nothing_is_safe(tmp_path):
    """What the option costs: files of the teacher's are read and changed."""
    secret = tmp_path / "seed"
    secret.write_text("20261")
    with Session(Room(isolated=False), tmp_path / "cache") as session:
        source = f"p = {str(secret)!r}\nprint(open(p).read())\nopen(p, 'w').write('0')"
        reply = session.run(source)
    assert reply["outputs"][0]["text"].strip() == "20261"
    assert secret.read_text() == "0"

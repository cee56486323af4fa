"""Every question of every assignment: proven, told apart from wrong answers, posed in its notebook.

Cases depend on a seed. What is right must pass, and what is wrong fail, whatever the seed.
"""

import re
from typing import Any

import pytest
from assignment_notebooks import code, notebook, solution, tagged
from assignments_cases import answer_from, cases_of, memorized, without

from qlearn.assignments import assignments, find, in_assignment
from qlearn.assignments.a6.entry import EntryQuestion
from qlearn.measure.results import load
from qlearn.teach.checks.proof import prove

GRADED = [name for name in assignments() if name != "a0"]  # a0 is a warm-up of ten minutes
# An entry has no cases: test_capstone.py tries its evaluator.
QUESTIONS = [
    question
    for name in GRADED
    for question in in_assignment(name)
    if not isinstance(question, EntryQuestion)
]
SEEDS = (0, 1, 20_261)
LEAST = 8  # mistakes a question

each_question = pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.id)
each_assignment = pytest.mark.parametrize("assignment", GRADED)

pytestmark = pytest.mark.usefixtures("one_thread")


def cases(question) -> dict[str, Any]:
    return cases_of(question.id.partition(".")[0])[question.id]


def blanked(source: str) -> str:
    """A solution cell as a student gets it."""
    pattern = r"^( *)### BEGIN SOLUTION.*?### END SOLUTION"
    return re.sub(pattern, r"\1...", source, flags=re.DOTALL | re.MULTILINE)


@each_assignment
def test_an_assignment_is_of_a_sensible_size(assignment):
    questions = in_assignment(assignment)
    assert 5 <= len(questions) <= 8
    assert 20 <= sum(question.points for question in questions) <= 30
    assert 60 <= sum(question.minutes for question in questions) <= 120
    ids = [question.id for question in QUESTIONS if question.id.startswith(f"{assignment}.")]
    assert list(cases_of(assignment)) == ids


@each_question
@pytest.mark.parametrize("seed", SEEDS[:2])
def test_it_is_proven(question, seed):
    exercise = question.exercise(seed)
    prove(exercise)
    assert len(exercise.mistakes) >= LEAST
    if question.parts:
        assert len(exercise.build_cases()) == len(question.parts)


@each_question
def test_other_right_answers_earn_all_points(question):
    sources = cases(question)["right"]
    assert len(sources) >= 2
    for source in sources:
        for seed in SEEDS:
            mark = question.mark(answer_from(source, question.answer), seed)
            mark.verdict.require()
            assert mark.points == question.points


@each_question
def test_wrong_answers_get_their_diagnosis(question):
    wrong = cases(question)["wrong"]
    diagnoses = set()
    for source, words in wrong:
        assert len(words) >= 6, f"{words!r} is too short to tell a diagnosis"
        for seed in SEEDS:
            mark = question.mark(answer_from(source, question.answer), seed)
            assert mark.verdict.kind == "wrong", f"{source}\n{mark.verdict.message}"
            assert words in mark.verdict.diagnosis, f"{source}\n{words!r}: {mark.verdict.message}"
            assert mark.points < question.points
        diagnoses.add(words)
    assert len(diagnoses) >= LEAST, f"{len(diagnoses)} diagnoses of {question.id}"


@pytest.mark.parametrize(
    ("question", "source"),
    [(q, source) for q in QUESTIONS for source in cases(q).get("calls", [])],
    ids=lambda value: getattr(value, "id", ""),
)
def test_an_answer_that_calls_the_package_fails_while_grading(question, source):
    assert question.mark(answer_from(source, question.answer), 1).verdict.passed
    with without(question.blocked):
        mark = question.mark(answer_from(source, question.answer), 1)
    assert mark.points == 0
    assert "ModuleNotFoundError" in mark.verdict.message


@each_question
def test_knowing_the_visible_cases_is_not_enough(question):
    exercise = question.exercise(0)
    if not exercise.is_function:
        return
    answer = solution(question.id.partition(".")[0])[0][question.answer]
    known = memorized(answer, exercise.build_cases())
    question.mark(known, 0).verdict.require()
    assert question.mark(known, 1).points <= question.points / 2


@each_assignment
def test_the_source_notebook_poses_the_questions_in_their_order(assignment):
    graded = [cell for cell in notebook(assignment) if tagged(cell).get("grade")]
    asked = [cell for cell in notebook(assignment) if tagged(cell).get("solution")]
    questions = in_assignment(assignment)
    assert [tagged(cell)["grade_id"] for cell in asked] == [q.cell for q in questions]
    assert [tagged(cell)["grade_id"] for cell in graded] == [q.check_cell for q in questions]
    for cell, question in zip(graded, questions, strict=True):
        assert tagged(cell)["points"] == question.points
        assert tagged(cell)["locked"]
        assert code(cell).rstrip().endswith(f'check("{question.id}", {question.answer})')


@each_assignment
def test_headings_show_points_target_and_minutes(assignment):
    text = "\n".join(code(cell) for cell in notebook(assignment) if cell["cell_type"] == "markdown")
    for k, question in enumerate(in_assignment(assignment), 1):
        assert f"## Question {k}: {question.title}\n" in text
        line = f"**{question.points} points, about {question.minutes} minutes.** Target:"
        assert f"{line} {question.target}." in text


@each_assignment
def test_the_notebooks_solutions_earn_all_points(assignment):
    names, verdicts = solution(assignment)
    assert list(verdicts) == [question.id for question in in_assignment(assignment)]
    for question in in_assignment(assignment):
        verdicts[question.id].require()
        if isinstance(question, EntryQuestion):
            continue  # whatever its points: a simple entry is solution enough
        for seed in SEEDS[1:]:
            mark = question.mark(names[question.answer], seed)
            mark.verdict.require()
            assert mark.points == question.points


def test_the_committed_share_of_caught_mutants_is_measured(bench):
    rows = {row["question"]: row for row in load("graders")["rows"]}
    assert sorted(rows) == sorted(question.id for question in QUESTIONS)
    for row in rows.values():
        assert row["caught"] + len(row["accepted"]) == row["mutants"] > 0
        assert row["caught"] == row["mutants"] or row["why"]
    assert bench("graders").measure("a1", "a1.unpack") == [rows["a1.unpack"]]


@each_assignment
def test_the_blanks_are_not_answered_yet(assignment):
    """Each solution cell as released, run after the notebook's own imports and data."""
    for cell in notebook(assignment):
        if not tagged(cell).get("solution"):
            continue
        question = find(tagged(cell)["grade_id"].replace("_", ".", 1))
        names = dict(solution(assignment)[0])
        source = blanked(code(cell))
        assert source != code(cell), f"{question.id} has no solution to take out"
        exec(source, names)
        mark = question.mark(names[question.answer], 1)
        assert mark.verdict.kind == "blank", mark.verdict.message
        assert mark.points == 0

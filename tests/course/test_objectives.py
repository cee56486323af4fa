"""Every question, exercise and chapter has its learning objective, and none names what is not."""

import re
from pathlib import Path

import pytest

from qlearn.assignments import assignments, in_assignment
from qlearn.course.objectives import OBJECTIVES
from qlearn.exercises import chapters, in_chapter

ROOT = Path(__file__).parents[2]
WARM_UP = "a0"


def named(field):
    return [one for objective in OBJECTIVES for one in getattr(objective, field)]


def test_there_are_as_many_as_can_be_read():
    assert 25 <= len(OBJECTIVES) <= 40
    texts = [objective.text for objective in OBJECTIVES]
    assert len(set(texts)) == len(texts)
    assert all(text[0].islower() and text[-1] != "." for text in texts)


def test_every_question_is_mapped_once_and_none_that_is_not_there():
    questions = [q.id for a in assignments() if a != WARM_UP for q in in_assignment(a)]
    assert sorted(named("questions")) == sorted(questions)


def test_every_exercise_is_mapped_once_and_none_that_is_not_there():
    exercises = [exercise.id for chapter in chapters() for exercise in in_chapter(chapter)]
    assert sorted(named("exercises")) == sorted(exercises)


def test_every_chapter_has_an_objective_and_none_that_is_not_there():
    there = {int(path.name[:2]) for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")}
    assert set(named("chapters")) == there


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.text[:30])
def test_an_objective_is_taught_where_it_is_practised_and_tested_somewhere(objective):
    assert {int(one[2:4]) for one in objective.exercises} <= set(objective.chapters)
    assert list(objective.chapters) == sorted(set(objective.chapters))
    assert objective.exercises or objective.questions


def test_exercises_have_their_numbers_from_the_chapters_headings():
    for chapter in chapters():
        (path,) = (ROOT / "notebooks").glob(f"{chapter[2:]}_*.ipynb")
        text = path.read_text(encoding="utf-8")
        found = re.findall(rf'### Exercise (\d+\.\d+):|check\(\\"({chapter}\.\w+)', text)
        posed = [number or name for number, name in found]
        wanted = [
            one
            for k, exercise in enumerate(in_chapter(chapter), 1)
            for one in (f"{int(chapter[2:])}.{k}", exercise.id)
        ]
        assert posed == wanted

"""A sound notebook -> the score and the verdict of each of its questions.

Cells run in the sandbox in their order. At each check cell the answer is judged here, by calls into
the sandbox: references, cases and comparisons never get there.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qlearn import needs
from qlearn.assignments import find
from qlearn.assignments.shared.measured import remembered
from qlearn.assignments.shared.question import Mark, Question
from qlearn.classroom.sandbox.process import LostError
from qlearn.classroom.sandbox.remote import RemoteFunction
from qlearn.classroom.sandbox.sandbox import Limits, Room
from qlearn.classroom.sandbox.session import Session, StoppedError
from qlearn.teach.checks.checker import Exercise, Verdict

with needs("classroom"):
    import nbformat

__all__ = ["Graded", "grade", "room_for"]

# The same bounds as inside, where a submission may have lifted them.
MOST_TEXT = 110_000
MOST_OUTPUTS = 60


@dataclass
class Graded:
    """A notebook with the outputs of its run, and its questions' marks by id."""

    notebook: Any
    marks: dict[str, Mark] = field(default_factory=dict)

    @property
    def points(self) -> float:
        """The sum of all questions' points."""
        return sum(mark.points for mark in self.marks.values())


def room_for(
    questions: Sequence[Question],
    files: dict[str, Path] | None = None,
    limits: Limits | None = None,
    isolated: bool = True,
) -> Room:
    """The room in which a notebook with these questions runs: what any of them blocks is absent."""
    blocked = sorted({name for question in questions for name in question.blocked})
    models = all(question.models for question in questions)
    return Room(tuple(blocked), files or {}, limits or Limits(), models, isolated)


def grade(
    notebook: Any, questions: Sequence[Question], seed: int, room: Room, folder: Path
) -> Graded:
    """Execute a notebook and judge its questions.

    Args:
        notebook: a sound one, from `rebuild`; it is not changed.
        questions: those that its check cells belong to.
        seed: of the cases; the teacher's.
        room: what the code sees and what it may take.
        folder: of the grader, for filtered copies.

    Raises:
        NotIsolatedError: there is no isolation here and the room asks for it.
    """
    graded = Graded(nbformat.from_dict(notebook))
    by_cell = {question.check_cell: question for question in questions}
    last_error = ""
    with Session(room, folder) as session:
        for cell in graded.notebook.cells:
            if cell.cell_type != "code":
                continue
            question = by_cell.get(cell.metadata.get("nbgrader", {}).get("grade_id", ""))
            if question is not None:
                mark = _judge(session, question, seed, last_error)
                graded.marks[question.id] = mark
                cell.outputs = _verdict_outputs(mark)
                last_error = ""
            elif cell.source.strip():
                reply = session.run(cell.source)
                cell.outputs = _outputs(reply.get("outputs"))
                last_error = str(reply.get("error") or "") or last_error
            cell.execution_count = None
    for question in questions:  # a release whose check cell is missing: no answer was asked
        if question.id not in graded.marks:
            verdict = Verdict(question.id, "blank", "There is no check cell for this question.")
            graded.marks[question.id] = Mark(question, 0.0, verdict)
    return graded


def _judge(session: Session, question: Question, seed: int, last_error: str) -> Mark:
    session.begin_question()
    most = question.megabytes * 2**20
    seconds = min(question.seconds, session.limits.call_seconds)
    exercise = _exercise(question.id, seed)
    try:
        found = session.look(question.answer, seconds, most)
    except (StoppedError, LostError) as error:
        return _none(question, f"`{question.answer}` can't be read: {error}.", last_error)
    if "error" in found:
        return _none(question, f"`{question.answer}` can't be read: {found['error']}.", last_error)
    if found.get("kind") == "function":
        name = question.answer
        answer: Any = RemoteFunction(
            name,
            found.get("parameters"),
            lambda arguments: session.call(name, arguments, seconds, most),
        )
    elif found.get("kind") == "value":
        answer = found.get("value")
    else:
        where = "is not there when its check runs: keep the name that the task gives"
        return _none(question, f"`{question.answer}` {where}.", last_error)
    return question.mark(answer, seed, exercise)


def _none(question: Question, diagnosis: str, last_error: str) -> Mark:
    detail = f"The cells before it raised {last_error}" if last_error else ""
    return Mark(question, 0.0, Verdict(question.id, "wrong", diagnosis, detail))


@functools.lru_cache(maxsize=256)
def _exercise(question_id: str, seed: int) -> Exercise:
    """A question's exercise, its cases made once and its references' results remembered."""
    made = find(question_id).exercise(seed)
    if not made.is_function:
        return made
    mistakes = {text: remembered(one) for text, one in made.mistakes.items()}
    cases = made.build_cases()
    return replace(made, cases=cases, expected=remembered(made.expected), mistakes=mistakes)


def _verdict_outputs(mark: Mark) -> list[Any]:
    """What stands under a check cell: the verdict, and its points where nbgrader looks for them."""
    shown = mark.shown("on the cases that count")
    data = {"text/plain": shown.message}  # feedback pages are cleared of what HTML may hold
    return [
        nbformat.v4.new_output("display_data", data),
        nbformat.v4.new_output("execute_result", {"text/plain": f"{mark.points:g}"}),
    ]


def _outputs(reported: Any) -> list[Any]:
    """Outputs from inside in the notebook's form; of what is not as it should be, nothing."""
    built = []
    for one in reported[:MOST_OUTPUTS] if isinstance(reported, list) else []:
        kind = one.get("kind") if isinstance(one, dict) else None
        if kind == "stream":
            name = "stderr" if one.get("name") == "stderr" else "stdout"
            built.append(
                nbformat.v4.new_output("stream", name=name, text=str(one.get("text"))[:MOST_TEXT])
            )
        elif kind in ("display_data", "execute_result"):
            built.append(nbformat.v4.new_output("display_data", _safe(one.get("data"))))
        elif kind == "error":
            name, value, trace = (
                str(one.get(key))[:MOST_TEXT] for key in ("name", "value", "trace")
            )
            fields = {"ename": name, "evalue": value[:1000], "traceback": trace.splitlines()}
            built.append(nbformat.v4.new_output("error", **fields))
    return built


def _safe(data: Any) -> dict[str, str]:
    """Plain text and pictures: HTML from a submission would run in the grader's browser."""
    kept = {}
    if isinstance(data, dict):
        if isinstance(text := data.get("text/plain"), str):
            kept["text/plain"] = text[:MOST_TEXT]
        if isinstance(picture := data.get("image/png"), str):
            try:
                base64.b64decode(picture, validate=False)
                kept["image/png"] = "".join(c for c in picture if c.isalnum() or c in "+/=")
            except ValueError:
                pass
    return kept

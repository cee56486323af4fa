"""Submissions that try to break or to fool the grader, each with what it is due.

`ATTACKS` are tried in a class (`benchmarks/attacks.py`), `ELSEWHERE` by tests of their own. The
guide's tables show both.
"""

from __future__ import annotations

from dataclasses import dataclass

from hostile_hand_ins import HAND_INS
from hostile_machine import MACHINE
from hostile_open import OPEN
from hostile_points import POINTS
from hostile_work import OUTCOMES

__all__ = ["ATTACKS", "ELSEWHERE", "Tried", "some"]

ATTACKS = {**MACHINE, **POINTS, **HAND_INS, **OPEN}


@dataclass(frozen=True)
class Tried:
    """An attack that is no submission of a class: a test tries it, or nobody has ('')."""

    kind: str
    tries: str
    stopped_by: str
    test: str = ""

    @property
    def outcome(self) -> str:
        """One or two words for the guide."""
        return OUTCOMES[self.kind] if self.test else "not tried"


_CLASS = "tests/classroom/test_class.py::"
_CAPSTONE = "tests/course/test_capstone.py::"
ELSEWHERE = {
    "`../` in the class's zip": Tried(
        "machine",
        "files outside the course's folder",
        "of a path only student and file name are taken",
        f"{_CLASS}test_downloads_are_sorted_by_what_the_lms_calls_them",
    ),
    "a link in the zip": Tried(
        "machine",
        "a file of the teacher's as one's own",
        "links are left out",
        f"{_CLASS}test_downloads_are_sorted_by_what_the_lms_calls_them",
    ),
    "zip bomb": Tried(
        "machine",
        "a small zip with a file that fills the disk",
        "files above 600 MB are left out, archives inside are not unpacked",
        f"{_CLASS}test_a_zip_bomb_is_not_unpacked",
    ),
    "a formula for a name": Tried(
        "machine",
        "`=1+1` in the list of grades, for the teacher's spreadsheet",
        "it is written as text",
        f"{_CLASS}test_lists_of_grades_are_as_canvas_and_moodle_read_them",
    ),
    "weights inside the decoder": Tried(
        "points",
        "the capstone's weights in the notebook's code",
        "code counts against the budget",
        f"{_CAPSTONE}test_the_budget_counts_the_tied_embedding_once_and_the_code",
    ),
    "a decoder that changes its mind": Tried(
        "points",
        "other weights at the second call",
        "two calls must agree",
        f"{_CAPSTONE}test_a_broken_rule_is_named_and_earns_nothing",
    ),
    "a decoder that loads the model": Tried(
        "points",
        "the original weights in place of the entry's",
        "no model is mounted where a capstone is graded",
        "tests/classroom/test_sandbox.py::test_a_room_without_models_has_none",
    ),
    "a second hand-in": Tried(
        "open",
        "a table of the cases that feedback has shown",
        "works for the same seed; another seed leaves it half at the most",
        "tests/classroom/test_attacks.py::test_a_table_of_cases_is_worth_nothing_with_another_seed",
    ),
    "expected values from the package": Tried(
        "open",
        "`find('a1.noise').exercise(0).expected`, or trying until the check says yes",
        "predictions are the same for every seed: treat them as practice",
        "tests/classroom/test_attacks.py::test_predictions_can_be_read_from_the_package",
    ),
    "`--without-isolation`": Tried(
        "open",
        "reads and writes the teacher's files",
        "do not use it with code of others",
        "tests/classroom/test_attacks.py::test_without_isolation_nothing_is_safe",
    ),
    "trained on the evaluation text": Tried(
        "open",
        "a capstone entry fitted to the text that scores it, which is public",
        "measure with a text of your own",
    ),
    "a flaw of the kernel": Tried(
        "open",
        "leaves the sandbox by a bug in Linux or bubblewrap",
        "keep both up to date; grade on a machine that holds nothing else",
    ),
    "timing the grader": Tried(
        "open",
        "measures between its calls how long a comparison takes",
        "tells less than feedback, which shows up to eight expected values",
    ),
}


def some(number: int) -> tuple[str, ...]:
    """That many attacks, spread over all kinds; more than there are come again from the first."""
    names = list(ATTACKS)
    if number >= len(names):
        return tuple(names)
    return tuple(names[k * len(names) // number] for k in range(number))

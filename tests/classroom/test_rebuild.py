"""What students hand in becomes a sound notebook: every official cell once, their own kept."""

import json

import nbformat
import pytest

from qlearn.assignments import in_assignment
from qlearn.classroom.intake.intake import Cell, read_submission
from qlearn.classroom.intake.intake_strip import strip
from qlearn.classroom.intake.rebuild import grade_id, rebuild

QUESTIONS = in_assignment("a0")
NAMES = ["a0_step", "a0_step_check", "a0_levels", "a0_levels_check"]


def official(name, source):
    check = name.endswith("_check")
    settings = {"grade_id": name, "grade": check, "locked": check, "solution": not check}
    return nbformat.v4.new_code_cell(source, metadata={"nbgrader": settings})


RELEASE = nbformat.v4.new_notebook(
    cells=[
        nbformat.v4.new_code_cell("import torch"),
        official("a0_step", "def step(weights, bits):\n    ..."),
        official("a0_step_check", 'check("a0.step", step)'),
        official("a0_levels", "levels = ..."),
        official("a0_levels_check", 'check("a0.levels", levels)'),
    ]
)
RIGHT = [
    Cell("code", "import torch"),
    Cell("code", "def step(weights, bits):\n    return 1", "a0_step"),
    Cell("code", 'check("a0.step", step)', "a0_step_check"),
    Cell("code", "levels = [8, 16, 256]", "a0_levels"),
    Cell("code", 'check("a0.levels", levels)', "a0_levels_check"),
]


def built(cells):
    notebook, notes = rebuild(RELEASE, cells, QUESTIONS)
    ids = [grade_id(cell) for cell in notebook.cells if grade_id(cell)]
    assert sorted(ids) == sorted(NAMES)
    for question in QUESTIONS:
        assert ids.index(question.cell) < ids.index(question.check_cell)
    nbformat.validate(notebook)
    return notebook, notes


def source(notebook, name):
    return next(cell.source for cell in notebook.cells if grade_id(cell) == name)


def test_an_orderly_notebook_needs_no_repair():
    notebook, notes = built(RIGHT)
    assert notes == []
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in RIGHT]


def test_nothing_handed_in_is_the_release():
    notebook, _ = rebuild(RELEASE, None, QUESTIONS)
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in RELEASE.cells]


def test_an_edited_check_is_the_released_one():
    cells = [*RIGHT[:2], Cell("code", "print('26 points')", "a0_step_check"), *RIGHT[3:]]
    notebook, notes = built(cells)
    assert source(notebook, "a0_step_check") == 'check("a0.step", step)'
    assert any("a0_step_check was edited" in note for note in notes)


def test_deleted_cells_are_put_back():
    notebook, notes = built([RIGHT[0]])
    assert source(notebook, "a0_step") == "def step(weights, bits):\n    ..."
    assert len(notes) == 4


def test_copies_all_run_and_the_last_counts():
    again = Cell("code", "def step(weights, bits):\n    return 2", "a0_step")
    notebook, _ = built([*RIGHT, again, RIGHT[2]])
    assert source(notebook, "a0_step") == again.source
    assert RIGHT[1].source in [cell.source for cell in notebook.cells if not grade_id(cell)]
    assert [grade_id(cell) for cell in notebook.cells][-2:] == ["a0_step", "a0_step_check"]


def test_checks_that_stand_too_early_are_moved():
    built([RIGHT[2], RIGHT[4], RIGHT[0], RIGHT[1], RIGHT[3]])


def test_answers_without_ids_are_found_by_their_names():
    for cells in (
        [Cell(cell.kind, cell.source) for cell in RIGHT],
        [Cell("code", "\n".join(cell.source for cell in RIGHT if "check" not in cell.source))],
    ):
        notebook, _ = built(cells)
        assert "..." not in "".join(cell.source for cell in notebook.cells)


def test_a_solution_turned_into_text_is_code_again():
    notebook, _ = built([RIGHT[0], Cell("markdown", "text", "a0_step"), *RIGHT[2:]])
    assert next(c for c in notebook.cells if grade_id(c) == "a0_step").cell_type == "code"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"\xff\xfe\x00",
        b"[" * 3_000_000,
        b"42",
        b'{"cells": 7}',
        b'{"worksheets": [5]}',
    ],
    ids=range(7),
)
def test_what_is_no_notebook_has_a_reason(tmp_path, content):
    (tmp_path / "n.ipynb").write_bytes(content)
    handed = read_submission(tmp_path, "n", NAMES)
    assert handed.cells is None
    assert "n.ipynb can't be read" in handed.notes[0]


def test_odd_cells_are_dropped_and_the_others_kept():
    cells = [
        *(1, None, {"cell_type": "code", "source": 3}, {"cell_type": "nonsense", "source": ""}),
        {"cell_type": "code", "source": ["a = 1\n", "b"], "metadata": {"nbgrader": 5}},
        {"cell_type": "code", "source": "\ud800", "metadata": []},
    ]
    result = strip({"cells": cells})
    assert [cell["source"] for cell in result["cells"]] == ["a = 1\nb", "?"]
    assert result["dropped"] == 4


def test_a_notebook_under_another_name_is_found(tmp_path):
    def write(name, ids):
        cells = [
            {"cell_type": "code", "source": "", "metadata": {"nbgrader": {"grade_id": one}}}
            for one in ids
        ]
        (tmp_path / name).write_text(json.dumps({"cells": cells}))

    write("other.ipynb", ["x"])
    write("Übung 🙂.ipynb", NAMES)
    handed = read_submission(tmp_path, "n", NAMES)
    assert handed.cells and len(handed.cells) == 4
    assert "was taken for n.ipynb" in handed.notes[0]
    write("n.ipynb", [])
    assert read_submission(tmp_path, "n", NAMES).cells == []


def test_links_are_not_followed(tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "student"
    folder.mkdir()
    (folder / "n.ipynb").symlink_to(tmp_path / "secret.txt")
    (folder / "data.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "sub").symlink_to(tmp_path)
    handed = read_submission(folder, "n", NAMES)
    assert handed.cells is None
    assert handed.files == {}

"""The shape that is asked of a chapter: each fault is told, and a chapter in shape has none."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from qlearn.course.notebooks import tool
from qlearn.course.notebooks.cells import Publication, generated
from qlearn.course.notebooks.normal import normalise
from qlearn.course.notebooks.structure import EXPLORER, IGNORED, check_structure

PUBLISHED = Publication("me/course", "main", "0.1.0")
SOLUTION = "````{admonition} Solution\n:class: dropdown\n\n```python\nx = 1\n```\n````"


def exercise(k):
    return [
        new_markdown_cell(f"### Exercise 1.{k}: name\n\nDo it."),
        new_code_cell(f'x = ...\n\ncheck("ch01.name{k}", x)', execution_count=1),
        new_markdown_cell(SOLUTION),
    ]


def chapter():
    """A chapter in shape."""
    explorer = new_output("display_data", {EXPLORER: {"version": 1}, "text/plain": "a table"})
    shown = new_code_cell("explorer", metadata={"tags": [IGNORED]}, execution_count=1)
    shown.outputs = [explorer]
    cells = [
        new_markdown_cell("# 1. Title"),
        new_markdown_cell("## What you will be able to do\n\n**Time:** about 60 minutes"),
        new_markdown_cell("## Predict\n\nHow many?"),
        new_markdown_cell("## By hand"),
        new_markdown_cell("## Try it"),
        shown,
        new_markdown_cell("## Exercises"),
        *(cell for k in (1, 2, 3) for cell in exercise(k)),
        new_markdown_cell("## What to remember\n\nIt."),
        new_markdown_cell("## Sources\n\nThis."),
    ]
    notebook = generated(new_notebook(cells=cells), "01_title.ipynb", PUBLISHED)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count = 1
    return normalise(notebook)


def problems(notebook, folder, *, again=True):
    path = folder / "01_title.ipynb"
    tool.write(normalise(notebook) if again else notebook, path)
    return check_structure(path, PUBLISHED)


def test_a_chapter_in_shape_has_no_problem(tmp_path):
    assert problems(chapter(), tmp_path) == []


def source(index, text):
    def change(notebook):
        notebook.cells[index].source = text

    return change


def drop(index):
    return lambda notebook: notebook.cells.pop(index)


def output(made, tag=None):
    def change(notebook):
        notebook.cells[7].outputs.append(made)
        notebook.cells[7].metadata.tags = [tag] if tag else [IGNORED]

    return change


def made(text):
    def change(notebook):
        notebook.cells[7].source = text
        notebook.cells[7].outputs = []

    return change


def place(text):
    for index, cell in enumerate(chapter().cells):
        if text in cell.source:
            return index
    raise AssertionError(text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (source(0, "# Title"), "does not begin with '# 1. '"),
        (source(0, "# 2. Title"), "does not begin with '# 1. '"),
        (source(0, "# 1. Title\n\n# Another"), "more than one heading"),
        (source(3, "## What you will be able to do"), "no line '**Time:**"),
        (source(4, "## Predict\n\nNothing."), "asks no question"),
        (source(4, "Why?"), "its sections are"),
        (source(5, "## Sources"), "its sections are"),
        (drop(7), "shows no explorer"),
        (source(place("ch01.name2"), "x = 1"), "exercise 1.2 is not followed by a code cell"),
        (source(place("ch01.name2"), 'check("ch02.a", 1)'), "1.2 is not followed by a code cell"),
        (source(place("ch01.name2"), 'check("ch01.a", 1)\n\nprint(1)'), "1.2 is not followed"),
        (drop(place("ch01.name2") + 1), "exercise 1.2 has no folded solution"),
        (source(place("Exercise 1.3"), "### Exercise 1.4: x"), "numbered ['1.1', '1.2', '1.4']"),
        (source(place("Exercise 1.3"), "words"), "there must be 3 or more"),
        (output(new_output("error", ename="KeyError")), "shows an error: KeyError"),
        (output(new_output("stream", name="stderr", text="Warning")), "prints to stderr"),
        (output(new_output("stream", text="/home/someone/x")), "a path of this machine"),
        (output(new_output("stream", text="<a at 0x7f00aa11bb22>")), "an address of this machine"),
        (output(new_output("display_data", {"application/vnd.plotly.v1+json": {}})), "bare plotly"),
        (output(new_output("stream", text="fine"), "other"), f"without the tag {IGNORED}"),
        (made("Explorer(draw, {})\nassert True"), "makes an explorer that isn't shown"),
        (made("show(chart, 'words')\nprint(1)"), "makes an explorer that isn't shown"),
    ],
)
def test_each_fault_is_told(change, words, tmp_path):
    notebook = chapter()
    change(notebook)
    found = problems(notebook, tmp_path)
    assert any(words in line for line in found), found


def test_unexecuted_hand_edited_and_large_chapters_are_told(tmp_path):
    notebook = chapter()
    notebook.cells[7].execution_count = None
    assert any("not executed in order" in line for line in problems(notebook, tmp_path))

    notebook = chapter()
    notebook.cells[2].source += "\nprint('mine')"
    assert any("normal form" in line for line in problems(notebook, tmp_path))

    notebook = chapter()
    notebook.cells[7].outputs[0].data["text/plain"] = "x" * 1_000_001
    assert any("1 MB at the most" in line for line in problems(notebook, tmp_path))

    notebook = chapter()
    notebook.cells[7].metadata["execution"] = {"iopub.status.busy": "now"}
    assert any("normal form" in line for line in problems(notebook, tmp_path, again=False))

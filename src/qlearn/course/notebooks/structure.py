"""The shape that every chapter has, checked: sections, exercises, outputs, size."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qlearn import needs
from qlearn.course.notebooks.cells import Publication, generated
from qlearn.course.notebooks.normal import normalise

with needs("dev"):
    import nbformat

SECTIONS = [
    "What you will be able to do",
    "Predict",
    "Try it",
    "Exercises",
    "What to remember",
    "Sources",
]
MAX_BYTES = 1_000_000
MAX_SECONDS = 90
MAX_MEMORY = 1_600_000_000  # bytes resident: what a free Binder leaves to a kernel
EXPLORER = "application/vnd.qlearn.explorer+json"
IGNORED = "nbval-ignore-output"
_MACHINE_PATH = re.compile(
    r"/(?:home|root|Users|tmp|work|opt|usr)/[\w.-]+|[A-Z]:\\Users|site-packages"
)
_ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")


def check_structure(path: Path, publication: Publication) -> list[str]:
    """List what is wrong with a chapter's shape; an empty list means nothing is.

    Args:
        path: the notebook, named `NN_words.ipynb`.
        publication: what its generated cells are made from.
    """
    notebook = nbformat.read(path, as_version=4)
    problems = [
        *_check_title(notebook, path.name),
        *_check_sections(notebook),
        *check_exercises(notebook, int(path.name[:2])),
        *check_outputs(notebook),
    ]
    if path.stat().st_size > MAX_BYTES:
        problems.append(f"it is {path.stat().st_size / 1e6:.2f} MB: 1 MB at the most")
    if normalise(generated(notebook, path.name, publication)) != notebook:
        problems.append(
            "it is not in its normal form: run python -m qlearn.course.notebooks --write"
        )
    return problems


def _check_title(notebook: Any, name: str) -> Iterator[str]:
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown":
        yield "the first cell is not Markdown: it must hold the title"
    elif not re.match(rf"# {int(name[:2])}\. \S", first.source):
        yield f"the first cell does not begin with '# {int(name[:2])}. ' and the title"


def headings(notebook: Any, level: int) -> list[str]:
    """List the headings of one level in order, fenced code left out."""
    found: list[str] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"^(`{3,}|~{3,}).*?^\1", "", cell.source, flags=re.DOTALL | re.MULTILINE)
            found += re.findall(rf"^#{{{level}}} (.+?)\s*$", text, flags=re.MULTILINE)
    return found


def section(notebook: Any, title: str) -> list[Any]:
    """Give the cells from a section's heading up to the next section."""
    cells: list[Any] = []
    inside = False
    for cell in notebook.cells:
        starts = re.findall(r"^## (.+?)\s*$", cell.source, flags=re.MULTILINE)
        if cell.cell_type == "markdown" and starts:
            inside = title in starts
        if inside:
            cells.append(cell)
    return cells


def _check_sections(notebook: Any) -> Iterator[str]:
    if len(headings(notebook, 1)) != 1:
        yield "it has more than one heading of the first level, or none"
    ours = [title for title in headings(notebook, 2) if title in SECTIONS]
    if ours != SECTIONS:
        yield f"its sections are {ours}, not {SECTIONS}, once each and in this order"
    aims = "\n".join(cell.source for cell in section(notebook, SECTIONS[0]))
    if not re.search(r"\*\*Time:\*\* (?:about )?\d+ minutes", aims):
        yield "'What you will be able to do' has no line '**Time:** about NN minutes'"
    if not any("?" in cell.source for cell in section(notebook, "Predict")):
        yield "'Predict' asks no question"
    shown = [cell for cell in section(notebook, "Try it") if _has(cell, EXPLORER)]
    if not shown:
        yield "'Try it' shows no explorer"


def _has(cell: Any, mime: str) -> bool:
    return any(mime in output.get("data", {}) for output in cell.get("outputs", []))


def _makes_explorer(source: str) -> bool:
    """Whether a statement of the cell is a call of `Explorer` or `show`, its value not kept."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # a magic, which makes none
        return False
    return any(
        isinstance(one, ast.Expr)
        and isinstance(one.value, ast.Call)
        and isinstance(one.value.func, ast.Name)
        and one.value.func.id in ("Explorer", "show")
        for one in statements
    )


def check_exercises(notebook: Any, number: int) -> Iterator[str]:
    """Check that each exercise is a heading, a cell that ends in check(...), and a solution."""
    cells = notebook.cells
    titles: list[str] = []
    for index, cell in enumerate(cells):
        match = re.search(r"^### Exercise (\d+\.\d+): \S.*$", cell.source, flags=re.MULTILINE)
        if cell.cell_type != "markdown" or not match:
            continue
        name = f"exercise {match[1]}"
        titles.append(match[1])
        code = cells[index + 1] if index + 1 < len(cells) else None
        answer = cells[index + 2] if index + 2 < len(cells) else None
        last = code.source.strip().rsplit("\n\n", 1)[-1] if code is not None else ""
        called = re.search(rf"^check\(\s*\"ch{number:02d}\.\w+\",", last, flags=re.MULTILINE)
        if code is None or code.cell_type != "code" or not called:
            yield f'{name} is not followed by a code cell that ends with check("ch{number:02d}...'
        if (
            answer is None
            or answer.cell_type != "markdown"
            or not re.search(r"^`{4,}\{(admonition|dropdown)\}", answer.source, flags=re.MULTILINE)
            or "dropdown" not in answer.source
            or "```python" not in answer.source
        ):
            yield f"{name} has no folded solution with its Python after the code cell"
    wanted = [f"{number}.{k}" for k in range(1, len(titles) + 1)]
    if titles != wanted or len(titles) < 3:
        yield f"its exercises are numbered {titles}; there must be 3 or more, {number}.1 on"


def check_outputs(notebook: Any) -> Iterator[str]:
    """Check that the outputs are whole, in order, and hold nothing of the machine."""
    count = 0
    stale: list[str] = []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        place = f"cell {index}"
        count += 1
        if cell.execution_count != count:
            stale.append(str(index))
        for output in cell.outputs:
            data = output.get("data", {})
            text = str(output.get("text", "")) + str(data.get("text/plain", ""))
            if output.output_type == "error":
                yield f"{place} shows an error: {output.ename}"
            if output.get("name") == "stderr":
                yield f"{place} prints to stderr: {output.text[:80]!r}"
            if "application/vnd.plotly.v1+json" in data:
                yield f"{place} shows a bare plotly figure: pass it to explorer.show"
            for pattern, what in ((_MACHINE_PATH, "a path"), (_ADDRESS, "an address")):
                found = pattern.search(text)
                if found:
                    yield f"{place} shows {what} of this machine: {found[0]}"
        ran = cell.execution_count is not None
        if ran and _makes_explorer(cell.source) and not _has(cell, EXPLORER):
            yield f"{place} makes an explorer that isn't shown: it must be the last expression"
        if _has(cell, EXPLORER) and IGNORED not in cell.metadata.get("tags", []):
            yield f"{place} shows an explorer without the tag {IGNORED}"
    if stale:
        yield f"cells {', '.join(stale)} were not executed in order: run make notebooks"

"""Keeps the chapters' notebooks in shape: their normal form and generated cells.

`python -m qlearn.course.notebooks --check | --write [NOTEBOOK ...]`, by default all chapters.
"""

import argparse
import re
from pathlib import Path
from typing import Any

from qlearn import needs
from qlearn.course.notebooks.cells import (
    Publication,
    badges,
    bootstrap_cell,
    generated,
    read_publication,
)
from qlearn.course.notebooks.normal import normalise
from qlearn.course.notebooks.run import execute
from qlearn.course.notebooks.structure import check_structure, headings
from qlearn.models.long_runs import whole_file

with needs("dev"):
    import nbformat

__all__ = [
    "Publication",
    "badges",
    "bootstrap_cell",
    "check_structure",
    "execute",
    "find_chapters",
    "normalise",
    "read_publication",
    "write",
]


def find_root(start: Path) -> Path:
    """Find the clone that a folder lies in, by its `_config.yml`.

    Raises:
        ValueError: there is none at or above `start`.
    """
    for folder in (start, *start.parents):
        if (folder / "_config.yml").is_file() and (folder / "pyproject.toml").is_file():
            return folder
    raise ValueError(f"start={start} is not in a clone of the course; run this in one")


def find_chapters(root: Path) -> list[Path]:
    """List the chapters' notebooks in order."""
    return sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def laid_out(notebook: Any) -> str:
    """Give a notebook's text as Jupyter lays it out, but each list of numbers on one line.

    An explorer holds thousands of numbers, and Jupyter gives each of them a line.
    """
    text = nbformat.writes(notebook, version=nbformat.NO_CONVERT)
    # JSON's strings hold no line breaks, so a bracket with one after it opens a list.
    return re.sub(r'\[\n[^\[\]{}"]+\]', lambda numbers: re.sub(r"\s+", "", numbers[0]), text)


def write(notebook: Any, path: Path) -> None:
    """Write a notebook whole or not at all."""
    with whole_file(path) as new:
        new.write_text(laid_out(notebook) + "\n", encoding="utf-8")


def refresh(path: Path, publication: Publication) -> bool:
    """Bring a file's generated cells and form up to date; tell whether anything changed."""
    notebook = nbformat.read(path, as_version=4)
    fresh = normalise(generated(notebook, path.name, publication))
    if fresh == notebook and path.read_text(encoding="utf-8") == laid_out(fresh) + "\n":
        return False
    write(fresh, path)
    return True


def run_again(path: Path, publication: Publication) -> dict[str, Any]:
    """Execute a chapter in place; give its row of the run-time table."""
    refresh(path, publication)
    notebook, seconds, peak = execute(path)
    write(normalise(notebook), path)
    return {
        "notebook": path.stem,
        "title": headings(notebook, 1)[0],
        "seconds": round(seconds, 1),
        "memory_bytes": peak,
    }


def main(arguments: list[str]) -> int:
    """Check or write notebooks; give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m qlearn.course.notebooks", description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="list what is wrong, change nothing")
    action.add_argument("--write", action="store_true", help="renew generated cells and the form")
    parser.add_argument("notebooks", nargs="*", type=Path)
    options = parser.parse_args(arguments)
    root = find_root(Path.cwd())
    publication = read_publication(root)
    chosen = [path.resolve() for path in options.notebooks] or find_chapters(root)
    if options.check:
        problems = [f"{p.name}: {line}" for p in chosen for line in check_structure(p, publication)]
        print("\n".join(problems) or f"{len(chosen)} notebooks are in shape.")
        return bool(problems)
    changed = [path.name for path in chosen if refresh(path, publication)]
    print(f"Changed: {', '.join(changed) or 'nothing'}.")
    return bool(changed)

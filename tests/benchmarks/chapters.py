"""Execute chapters in place, outputs normalised, and record what each takes: time and memory.

A row a chapter, with the machine that measured it, so that one new chapter needs no run of all. A
chapter over its bounds is told, and not recorded. On a machine that does nothing else:

    make notebooks [ARGS=notebooks/15_words.ipynb]
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from _results import origin, save

from qlearn.course.notebooks.cells import read_publication
from qlearn.course.notebooks.structure import MAX_MEMORY, MAX_SECONDS
from qlearn.course.notebooks.tool import find_chapters, find_root, run_again
from qlearn.measure.results import find, load

COMMAND = "make notebooks"
MACHINE = ("commit", "modified", "date", "cpu", "cores")  # of each row: they may differ


def over_bounds(row: dict[str, Any]) -> str | None:
    """Say how a chapter's row exceeds what a chapter may take, if it does."""
    if row["seconds"] <= MAX_SECONDS and row["memory_bytes"] <= MAX_MEMORY:
        return None
    return (
        f"{row['notebook']} took {row['seconds']:.0f} s and {row['memory_bytes'] / 1e9:.2f} GB; "
        f"a chapter may take {MAX_SECONDS} s and {MAX_MEMORY / 1e9} GB: use fewer rows, a results "
        "file, or a machine that does nothing else"
    )


def record(new: dict[str, Any], there: Iterable[str]) -> None:
    """Put a chapter's row in its place, and drop the rows of chapters that are no longer there."""
    facts = {key: value for key, value in origin().items() if key in MACHINE}
    known = load("chapters") if find("chapters") else {"rows": []}
    # A row without a machine of its own was measured with the whole file.
    whole = {key: known[key] for key in MACHINE if key in known}
    rows = {row["notebook"]: {**whole, **row} for row in known["rows"]}
    rows[new["notebook"]] = {**new, **facts}
    kept = [rows[name] for name in there if name in rows]
    save("chapters", kept, COMMAND, kind="course")


def main(arguments: list[str]) -> int:
    """Execute the notebooks that are named, or all; give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path)
    options = parser.parse_args(arguments)
    root = find_root(Path.cwd())
    publication = read_publication(root)
    every = find_chapters(root)
    status = 0
    for path in [path.resolve() for path in options.notebooks] or every:
        row = run_again(path, publication)
        print(f"{path.name}: {row['seconds']} s, {row['memory_bytes'] / 1e9:.2f} GB", flush=True)
        excess = over_bounds(row)
        if excess:
            print(excess, file=sys.stderr)
            status = 1
        else:
            record(row, [chapter.stem for chapter in every])
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

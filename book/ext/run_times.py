"""Sphinx directive ``{run-times}``: each chapter's run time and memory, as last measured.

Nothing in the table is typed by hand: it is read from ``measure/results/course/chapters.json``
while the site is built. A missing or damaged file is an error of the build.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from qlearn.course.notebooks.structure import MAX_MEMORY, MAX_SECONDS
from qlearn.measure.results import FOLDER

RESULTS = FOLDER / "course" / "chapters.json"
HEADINGS = ("Chapter", "Seconds", "Limit, seconds", "Memory, GB", "Limit, GB")
ORIGIN = ("command", "commit", "modified", "date", "cpu", "cores")
FIELDS = {"notebook": str, "title": str, "seconds": int | float, "memory_bytes": int}


def read(path: Path) -> dict[str, Any]:
    """The measured chapters and how they were measured.

    Returns:
        ``rows``: a list of ``notebook``, ``title``, ``seconds``, ``memory_bytes`` (the peak of
        the kernel's resident memory); beside them command, commit, date, CPU, versions.

    Raises:
        ValueError: where the file is missing, is no JSON, or lacks a field.
    """
    remedy = "measure the chapters again with `make notebooks`"
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        chapters = results["rows"]
        wrong = [
            f"{chapter.get('notebook', '?')}: {field}"
            for chapter in chapters
            for field, kind in FIELDS.items()
            if not isinstance(chapter.get(field), kind)
        ]
        wrong += [] if chapters else ["all chapters"]
        wrong += [name for name in ORIGIN if name not in results]
    except (OSError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} cannot be read ({error!r}); {remedy}") from error
    if wrong:
        raise ValueError(f"{path.name} lacks {', '.join(wrong)}; {remedy}")
    return results


def rows(results: dict[str, Any]) -> list[tuple[str, ...]]:
    """One line a chapter, in the order of the notebooks; memory in GB = 1e9 bytes."""
    return [
        (
            chapter["title"],
            f"{chapter['seconds']:.0f}",
            str(MAX_SECONDS),
            f"{chapter['memory_bytes'] / 1e9:.2f}",
            f"{MAX_MEMORY / 1e9:.1f}",
        )
        for chapter in sorted(results["rows"], key=lambda chapter: chapter["notebook"])
    ]


def sentence(results: dict[str, Any]) -> str:
    """How the figures came about, as recorded: once for each machine that measured some of them."""
    machines: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for chapter in sorted(results["rows"], key=lambda chapter: chapter["notebook"]):
        measured = {**results, **chapter}  # a row says itself where it differs from the file
        machines.setdefault((measured["cpu"], measured["cores"]), []).append(measured)
    parts = []
    for (cpu, cores), measured in machines.items():
        numbers = ", ".join(str(int(chapter["notebook"][:2])) for chapter in measured)
        which = "" if len(machines) == 1 else f"Chapters {numbers}: "
        dates = sorted(chapter["date"][:10] for chapter in measured)
        when = f"on {dates[0]}" if dates[0] == dates[-1] else f"from {dates[0]} to {dates[-1]}"
        commits = {chapter["commit"][:7]: chapter["modified"] for chapter in measured}
        at = ", ".join(
            name + (", with changes not yet committed" if changed else "")
            for name, changed in commits.items()
        )
        verb = "measured" if which else "Measured"
        parts.append(
            f"{which}{verb} {when} with {results['command']}, on {cores} cores of a machine with "
            f"{cpu}, at commit {at}."
        )
    return " ".join(parts)


def table(lines: list[tuple[str, ...]]) -> nodes.table:
    """A docutils table with a heading row; every column but the first is a number."""
    group = nodes.tgroup(cols=len(HEADINGS))
    group += [nodes.colspec(colwidth=40 if k == 0 else 15) for k in range(len(HEADINGS))]
    group += nodes.thead("", _row(HEADINGS))
    group += nodes.tbody("", *(_row(line) for line in lines))
    return nodes.table("", group, classes=["colwidths-auto"])


def _row(cells: tuple[str, ...]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph(text=cell)) for cell in cells))


class RunTimes(Directive):
    """``{run-times}`` takes no argument and no content."""

    def run(self) -> list[nodes.Node]:
        """The table, and the sentence that says how it was measured."""
        self.state.document.settings.env.note_dependency(str(RESULTS))
        try:
            results = read(RESULTS)
        except ValueError as error:
            raise self.error(str(error)) from error
        return [table(rows(results)), nodes.paragraph(text=sentence(results))]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("run-times", RunTimes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

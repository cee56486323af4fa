"""The tools table for a page: figures in columns that fit a phone, and a folded card a tool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from qlearn.course.chapters.ch12.tools import Column, Row

NAME_WIDTH = 38  # percent of the table; the figures share the rest
_SIDES = "vertical-align:top;padding-left:2px;padding-right:2px"
_WORDS = f"text-align:left;white-space:normal;overflow-wrap:anywhere;{_SIDES}"
_FIGURE = f"text-align:right;white-space:nowrap;{_SIDES}"
_HEAD = _FIGURE.replace("nowrap", "normal")
_TABLE = "display:table;width:100%;table-layout:fixed;font-size:.8rem"
_CODE = "white-space:pre-wrap;overflow-wrap:anywhere;margin:.25rem 0;padding:.25rem 0"


@dataclass(frozen=True)
class ToolsTable:
    """Titles and a few figures; shown as HTML of the page's own width, or as plain text.

    Attributes:
        rows: of the results file.
        columns: four or fewer, so that a phone shows them side by side.
    """

    rows: tuple[Row, ...]
    columns: tuple[Column, ...]

    def _repr_html_(self) -> str:
        width = (100 - NAME_WIDTH) / len(self.columns)
        head = "".join(
            f'<th scope="col" style="{_HEAD}">{escape(each.title)}</th>' for each in self.columns
        )
        body = "".join(self._row(row) for row in self.rows)
        sizes = f'<col style="width:{NAME_WIDTH}%">' + f'<col style="width:{width:g}%">' * len(
            self.columns
        )
        return (
            f'<table class="tools" style="{_TABLE}">'
            f"<colgroup>{sizes}</colgroup>"
            f'<thead><tr><th scope="col" style="{_WORDS}">tool</th>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table>"
        )

    def _row(self, row: Row) -> str:
        title = f'<th scope="row" style="{_WORDS};font-weight:normal">{escape(row["title"])}</th>'
        if row["error"]:
            span = len(self.columns)
            told = f'<td colspan="{span}" style="{_WORDS}">did not run, see its card</td>'
            return f"<tr>{title}{told}</tr>"
        cells = "".join(f'<td style="{_FIGURE}">{each.cell(row)}</td>' for each in self.columns)
        return f"<tr>{title}{cells}</tr>"

    def __repr__(self) -> str:
        width = max(len(row["title"]) for row in self.rows)
        titles = [each.title for each in self.columns]
        lines = ["  ".join(["tool".ljust(width), *titles])]
        for row in self.rows:
            cells = (
                ["did not run"]
                if row["error"]
                else [
                    each.cell(row).rjust(len(title))
                    for each, title in zip(self.columns, titles, strict=True)
                ]
            )
            lines.append("  ".join([row["title"].ljust(width), *cells]))
        return "\n".join(lines)


@dataclass(frozen=True)
class ToolCards:
    """A folded card a tool: install line, lines of use, needs, state; what failed, and how."""

    rows: tuple[Row, ...]

    def _repr_html_(self) -> str:
        return "".join(map(_card, self.rows))

    def __repr__(self) -> str:
        return "\n\n".join(
            "\n".join([row["title"], *(f"  {name}: {text}" for name, text in facts(row))])
            for row in self.rows
        )


def tools_table(rows: Sequence[Row], columns: Sequence[Column]) -> ToolsTable:
    """Figures of these rows.

    Raises:
        ValueError: no rows, or more than four columns, which no phone shows.
    """
    if not rows or not 1 <= len(columns) <= 4:
        raise ValueError(
            f"rows ({len(rows)}) and columns ({len(columns)}) make no table for a phone; "
            "give a row or more, and one to four columns"
        )
    return ToolsTable(tuple(rows), tuple(columns))


def facts(row: Row) -> list[tuple[str, str]]:
    """What a card says, but for the code: a name and a text each."""
    versions = ", ".join(f"{name} {version}" for name, version in (row["packages"] or {}).items())
    told = [("needs", row["needs"]), ("used here", versions)]
    if row["newest"]:
        of = f" of {row['released']}" if row["released"] else ""
        told.append(("newest", f"{row['newest']}{of}, asked {row['checked']}"))
    told += [("state", row["state"]), ("notes", row["notes"])]
    if row["seconds_to_make"] is not None:
        made = f"{row['seconds_to_make']:.0f} s to load, quantize and save"
        peak = row["make_peak_bytes"]
        told.append(("made in", f"{made}, {peak / 1e9:.1f} GB at the peak" if peak else made))
    if row["error"]:
        told += [("error", row["error"]), ("tried", row["tried"] or "")]
    return [(name, text) for name, text in told if text]


def _card(row: Row) -> str:
    listed = "".join(
        f"<dt><strong>{escape(name)}</strong></dt>"
        f'<dd style="overflow-wrap:anywhere">{escape(str(text))}</dd>'
        for name, text in facts(row)
    )
    code = "\n".join([row["install"], "", *row["lines"]])
    return (
        f'<details class="tool"><summary>{escape(row["title"])}</summary>'
        f'<pre style="{_CODE}">{escape(code)}</pre><dl>{listed}</dl></details>'
    )

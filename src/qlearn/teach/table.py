"""Tables, as HTML and as plain text: cells of text, a heading for each column and each row."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["Html", "html_table", "text_table"]


class Html(str):
    """Text that is HTML already, and is not escaped again."""

    __slots__ = ()


def html_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str = "",
    row_headings: bool = True,
) -> str:
    """An HTML table that a screen reader can walk through.

    Args:
        headings: of the columns.
        rows: their cells; text is escaped, :class:`Html` is taken as it is.
        caption: stands above it.
        row_headings: the first cell of each row is its heading.

    >>> html_table(["bits", "error"], [["4", "0.1"]])  # doctest: +ELLIPSIS
    '<table><thead><tr><th scope="col">bits</th>...<tr><th scope="row">4</th><td>0.1</td></tr>...'
    """
    first = ('<th scope="row">', "</th>") if row_headings else ("<td>", "</td>")
    head = "".join(f'<th scope="col">{_inside(text)}</th>' for text in headings)
    body = "".join(
        f"<tr>{first[0]}{_inside(row[0])}{first[1]}"
        + "".join(f"<td>{_inside(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    title = f"<caption>{_inside(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def text_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1
) -> list[str]:
    """The lines of a plain-text table.

    Args:
        headings: of the columns.
        rows: their cells.
        left: so many columns are aligned to the left, the others to the right.

    >>> text_table(["layer", "bits"], [["q_proj", "4"], ["o", "16"]])
    ['layer   bits', 'q_proj     4', 'o         16']
    """
    cells = [headings, *rows]
    widths = [max(len(row[k]) for row in cells) for k in range(len(headings))]
    return [
        "  ".join(
            cell.ljust(width) if k < left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _inside(text: str) -> str:
    return text if isinstance(text, Html) else escape(text, quote=True)

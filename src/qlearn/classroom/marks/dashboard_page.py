"""The dashboard's HTML: tables with a bar in each row, for any width, light and dark."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from qlearn.teach.table import Html, html_table

__all__ = ["bar", "page_of", "section", "table"]

# Blue and orange are told apart by readers with any common colour blindness; a column has the
# number, so that no colour carries it alone.
STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1a1a1a; --rule: #ccc; --quiet: #595959;
  --right: #0072b2; --wrong: #d55e00; --blank: #999; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14171a; --text: #e8e8e8; --rule: #444; --quiet: #adadad;
    --right: #56b4e9; --wrong: #e69f00; --blank: #777; }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62em; margin: auto; padding: 0 1em 3em;
  background: var(--page); color: var(--text); }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .4em .6em; border-bottom: 1px solid var(--rule); vertical-align: bottom;
  text-align: right; }
th:first-child, td:nth-child(3):last-child,
th:nth-child(3):last-child { text-align: left; overflow-wrap: anywhere; }
tbody th { font-weight: normal; width: 60%; }
tbody th:nth-last-child(2) { width: 88%; }
tbody th:nth-last-child(3) { width: 20%; }
thead th { color: var(--quiet); font-weight: normal; }
small { color: var(--quiet); }
.bar { display: flex; height: .8em; margin-top: .3em; background: none; }
.key { display: inline-block; width: .8em; height: .8em; margin-right: .4em; }
.right, .plain { background: var(--right); }
.wrong { background: var(--wrong); }
.blank { background: var(--blank); }
@media (max-width: 40em) {
  body { font-size: 14px; }
  th, td { padding: .3em .25em; }
  tbody th { width: 45%; }
  tbody th:nth-last-child(2) { width: 78%; }
}
@media print { .bar, .key { print-color-adjust: exact; } }
"""


def bar(percent: Mapping[str, float]) -> str:
    """A bar of parts one after the other; the numbers stand in the row's other cells.

    >>> bar({"right": 25, "wrong": 0})
    '<span class="bar" aria-hidden="true"><span class="right" style="width:25.0%"></span></span>'
    """
    parts = [
        f'<span class="{kind}" style="width:{width:.1f}%"></span>'
        for kind, width in percent.items()
        if width > 0
    ]
    return f'<span class="bar" aria-hidden="true">{"".join(parts)}</span>'


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of HTML cells; the first of a row is its header."""
    return html_table([Html(one) for one in heads], [[Html(one) for one in row] for row in rows])


def section(title: str, lead: str, parts: Mapping[str, str]) -> str:
    """One assignment: its name, a sentence, and its tables under headings."""
    inner = "".join(f"<h3>{html.escape(head)}</h3>{body}" for head, body in parts.items())
    return f"<section><h2>{html.escape(title)}</h2><p>{html.escape(lead)}</p>{inner}</section>"


def page_of(title: str, parts: Sequence[str]) -> str:
    """The whole page."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main><h1>{html.escape(title)}</h1>{''.join(parts)}</main></body></html>"
    )

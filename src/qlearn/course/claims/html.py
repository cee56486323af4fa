"""The table of claims as HTML that a phone can show, and as plain text."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from html import escape

from qlearn.course.claims.links import Link

Row = tuple[int, str, str, str, str, tuple[tuple[str, str], ...], Link]
SIGNS = {"holds": "✓", "holds when": "≈", "wrong": "✗"}  # seen without colours, too
# Two columns: the claim with its figure under it, and the verdict. Nothing is wider than a phone.
_CELL = "text-align:left;vertical-align:top;white-space:normal;overflow-wrap:anywhere"


@dataclass(frozen=True)
class ClaimsTable:
    """Rows of number, claim, verdict, condition, figure, sources and evidence."""

    rows: tuple[Row, ...]

    def _repr_html_(self) -> str:
        body = "".join(_html(*row) for row in self.rows)
        head = '<th scope="col">claim, and our figure</th><th scope="col">verdict</th>'
        return (
            '<table class="claims" style="width:100%;table-layout:fixed"><colgroup>'
            '<col style="width:68%"><col style="width:32%"></colgroup>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )

    def __repr__(self) -> str:
        return "\n".join(_text(*row) for row in self.rows)


def _html(
    number: int,
    claim: str,
    verdict: str,
    condition: str,
    figure: str,
    sources: tuple[tuple[str, str], ...],
    evidence: Link,
) -> str:
    origin = ", ".join(
        f'<a href="{escape(url, quote=True)}">{escape(title.split(",")[0])}</a>'
        if url
        else escape(title)
        for title, url in sources
    )
    words = f"{SIGNS[verdict]} <strong>{verdict}</strong> {escape(condition)}".strip()
    small = f"<br><small>{origin + '; ' if origin else ''}{evidence.html()}</small>"
    return (
        f'<tr id="claim-{number}"><th scope="row" style="{_CELL};font-weight:normal">'
        f"<strong>{number}.</strong> {escape(claim)}<br><em>{escape(figure)}</em>{small}</th>"
        f'<td style="{_CELL}">{words}</td></tr>'
    )


def _text(
    number: int,
    claim: str,
    verdict: str,
    condition: str,
    figure: str,
    sources: tuple[tuple[str, str], ...],
    evidence: Link,
) -> str:
    said = f"{verdict} {condition}".strip()
    head = textwrap.fill(f"{number:2}. {claim}: {said.upper() if not condition else said}", 96)
    return f"{head}\n{textwrap.fill(figure, 92, initial_indent='    ', subsequent_indent='    ')}"

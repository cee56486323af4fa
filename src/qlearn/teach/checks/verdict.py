"""What a check says: passed or not, why, and a small table of yours beside the expected.

Colour never carries the meaning alone: each verdict also has a mark and a word. Blue and orange
are told apart by readers with any common colour blindness.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Any, Literal

import torch

from qlearn.teach.checks.compare import describe, leaves
from qlearn.teach.table import Html, html_table, text_table

__all__ = ["Row", "Verdict", "rows", "short"]

Kind = Literal["right", "blank", "wrong"]
HEADS = {
    "right": ("✓", "Right", "#0072b2"),
    "blank": ("○", "Not answered yet", "#767676"),
    "wrong": ("✗", "Not right yet", "#d55e00"),
}
MOST_ROWS = 8


@dataclass(frozen=True)
class Row:
    """One line of the table: a place in the result, both values, and whether they differ."""

    place: str
    yours: str
    expected: str
    differs: bool


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check. True where the answer passed.

    ``diagnosis`` is the one sentence that says what is wrong (or what was asked, or what is right);
    ``detail`` says where: the case, its arguments, the tolerance; ``message`` is all of it as text.
    ``outcomes`` says of each case (of a list: each element) whether it is right; it is empty where
    nothing could be tried.
    """

    exercise: str
    kind: Kind
    diagnosis: str
    detail: str = ""
    caption: str = ""
    table: tuple[Row, ...] = ()
    outcomes: tuple[bool, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the answer is right."""
        return self.kind == "right"

    @property
    def message(self) -> str:
        """Everything the verdict says, as plain text."""
        mark, word, _ = HEADS[self.kind]
        text = f"{mark} {word} ({self.exercise}). {self.diagnosis}"
        if self.detail:
            text += f"\n{self.detail}"
        return text + _draw(self.caption, self.table)

    def require(self) -> None:
        """Raise an AssertionError that carries the message, unless the answer passed."""
        if not self.passed:
            raise AssertionError(self.message)

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return self.message

    def _repr_html_(self) -> str:
        mark, word, colour = HEADS[self.kind]
        name = _text(self.exercise)
        style = f"border-left:.35em solid {colour};padding:.3em .9em;margin:.5em 0"
        head = f'<strong><span aria-hidden="true">{mark}</span> {word}</strong> ({name}).'
        parts = [
            f'<div class="qlearn-verdict" role="status" aria-label="Check {name}" style="{style}">',
            f"<p>{head} {_inline(self.diagnosis)}</p>",
        ]
        parts += [f"<p>{_inline(line)}</p>" for line in self.detail.splitlines()]
        if self.table:
            parts.append(_html_table(self.caption, self.table))
        return "\n".join([*parts, "</div>"])


def rows(yours: Any, expected: Any, rtol: float, atol: float) -> tuple[Row, ...]:
    """At most eight lines that show two results of equal structure where they differ most."""
    ours, theirs = leaves(yours), leaves(expected)
    if [path for path, _ in ours] != [path for path, _ in theirs]:
        return (Row("all", describe(yours), describe(expected), True),)
    lines: list[tuple[float, Row]] = []
    for (path, a), (_, b) in zip(ours, theirs, strict=True):
        lines += _leaf_rows(path, a, b, rtol, atol)
    if len(lines) > MOST_ROWS:
        worst = sorted(range(len(lines)), key=lambda i: -lines[i][0])[:MOST_ROWS]
        lines = [lines[i] for i in sorted(worst)]
    return tuple(row for _, row in lines)


def short(value: Any, limit: int = 60) -> str:
    """One argument in a few words: small values whole, large tensors by dtype and shape."""
    if isinstance(value, torch.Tensor):
        if value.numel() > 8 or value.is_meta:
            return describe(value).split(" ", 1)[1]
        return f"tensor({_nested(value.detach().cpu().tolist())})"
    if isinstance(value, list | tuple):
        inner = ", ".join(short(item) for item in value)
        text = f"[{inner}]" if isinstance(value, list) else f"({inner})"
    elif isinstance(value, float):
        text = f"{value:.6g}"
    elif value is None or isinstance(value, bool | int | str):
        text = repr(value)
    else:
        text = getattr(value, "__name__", type(value).__name__)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _leaf_rows(
    path: str, yours: Any, expected: Any, rtol: float, atol: float
) -> list[tuple[float, Row]]:
    """Lines of one leaf with their weights: the eight elements that differ most, at most."""
    tensors = isinstance(yours, torch.Tensor) and isinstance(expected, torch.Tensor)
    if not tensors or yours.shape != expected.shape or expected.dim() == 0:
        whole = isinstance(yours, torch.Tensor) and yours.dim() > 0
        shown = (describe(yours), describe(expected)) if whole else _pair(yours, expected)
        return [(1.0, Row(path or "result", shown[0], shown[1], shown[0] != shown[1]))]
    a = yours.detach().cpu().to(torch.float64).flatten()
    b = expected.detach().cpu().to(torch.float64).flatten()
    gap = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, (a - b).abs())
    gap = torch.nan_to_num(gap, nan=1e300, posinf=1e300)
    floating = expected.is_floating_point() or yours.is_floating_point()
    limit = atol + rtol * b.abs().nan_to_num(0.0, 0.0) if floating else torch.zeros_like(b)
    order = gap.argsort(descending=True, stable=True)[:MOST_ROWS].sort().values.tolist()
    lines = []
    for i in order:
        place = path + str([int(k) for k in torch.unravel_index(torch.tensor(i), yours.shape)])
        pair = _pair(yours.flatten()[i].item(), expected.flatten()[i].item())
        lines.append((float(gap[i]), Row(place, pair[0], pair[1], bool(gap[i] > limit[i]))))
    return lines


def _pair(yours: Any, expected: Any) -> tuple[str, str]:
    """Both values in as few digits as still tell them apart."""
    yours, expected = (v.item() if _is_scalar(v) else v for v in (yours, expected))
    if isinstance(yours, float) and isinstance(expected, float | int):
        for digits in (5, 9, 17):
            pair = f"{yours:.{digits}g}", f"{expected:.{digits}g}"
            if pair[0] != pair[1]:
                return pair
        return pair
    return short(yours), short(expected)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() == 0 and not value.is_meta


def _nested(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_nested(item) for item in value)}]"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _draw(caption: str, table: tuple[Row, ...]) -> str:
    """The table in plain text; a star marks each line that differs."""
    if not table:
        return ""
    rows = [(row.place, row.yours, row.expected) for row in table]
    marks = [" ", *("*" if row.differs else " " for row in table)]
    lines = text_table(("place", "yours", "expected"), rows)
    drawn = [f"{mark} {line}" for mark, line in zip(marks, lines, strict=True)]
    return "\n".join(["", caption, *drawn] if caption else ["", *drawn])


def _html_table(caption: str, table: tuple[Row, ...]) -> str:
    """The table in HTML; a word marks each line that differs, for screen readers too."""
    compared = [
        (row.place, row.yours, row.expected, "differs" if row.differs else "same") for row in table
    ]
    names = ("place", "yours", "expected", "compared")
    return html_table(names, compared, caption=Html(_inline(caption)))


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _text(text))


def _text(text: str) -> str:
    return html.escape(text, quote=True)

"""What an explorer says in words: the line under the figure, and tables for readers without one."""

import re
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from itertools import islice
from typing import Any

from qlearn.teach import table
from qlearn.teach.explorer.controls import Control, Position, count, positions

ROWS = 60  # a table longer than this is read by nobody
_FIELD = re.compile(r"\{(\w+)(?::(,?)(?:\.(\d+)f|(d)))?\}")


def fill(template: str, numbers: Mapping[str, float | str]) -> str:
    """`template` with its fields filled in, exactly as the page's script fills them.

    A field is `{name}` for words, `{name:d}` or `{name:.2f}` for numbers, with `,` for thousands.
    Halves round away from zero, as JavaScript's `toFixed` does, after the noise beyond twelve
    digits (that sums in a different order leave) is dropped.

    >>> fill("{total:,.1f} MB in {layers:d} layers", {"total": 1234.25, "layers": 30})
    '1,234.3 MB in 30 layers'

    Raises:
        ValueError: a field without its number, a number without a format, or a format not known.
    """
    rest = _FIELD.sub("", template)
    if "{" in rest or "}" in rest:
        raise ValueError(
            f"describe returned the template {template!r} with a field that the page can't fill; "
            "use {name}, {name:d}, {name:,d}, {name:.2f} or {name:,.2f}"
        )
    return _FIELD.sub(lambda field: _field(field, numbers), template)


def _field(field: re.Match[str], numbers: Mapping[str, float | str]) -> str:
    name, comma, places, whole = field.groups()
    if name not in numbers:
        raise ValueError(f"describe's template names {name!r}, which its numbers lack; add it")
    value = numbers[name]
    if isinstance(value, str):
        return value
    if places is None and whole is None:
        raise ValueError(f"describe's template has {{{name}}} for a number; write {{{name}:.2f}}")
    return _number(float(value), int(places or 0), "," if comma else "")


def _number(value: float, places: int, comma: str) -> str:
    exact = Decimal(float(f"{value:.12g}")) + 0  # the sum drops the sign of a negative zero
    return f"{exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):{comma}f}"


def spoken(description: Any) -> str:
    """The line that `describe` means: a string as it is, (template, numbers) filled in.

    Raises:
        ValueError: `description` is neither.
    """
    if isinstance(description, str):
        return description
    if isinstance(description, tuple) and len(description) == 2 and isinstance(description[0], str):
        return fill(description[0], description[1])
    raise ValueError(
        f"describe returned {description!r}; return one line of text, or (template, numbers)"
    )


def table_positions(controls: Sequence[Control], start: Position) -> tuple[list[Position], str]:
    """Which positions a table shows, and a note where that is not all of them.

    Beyond `ROWS` positions the table moves one control at a time away from the start.
    """
    total = count(controls)
    if total <= ROWS:
        return list(positions(controls)), ""
    near = (
        (*start[:k], j, *start[k + 1 :])
        for k, control in enumerate(controls)
        for j in range(len(control.values))
        if j != start[k]
    )
    shown = [start, *islice(near, ROWS - 1)]
    return shown, f"{len(shown)} of {total:,} positions, moving one control at a time."


def html_table(
    controls: Sequence[Control], rows: Sequence[tuple[Position, str]], start: Position, note: str
) -> str:
    """The rows as an HTML table; the start is marked in words."""
    cells = [
        (
            *(c.labels[k] for c, k in zip(controls, at, strict=True)),
            f"{line} (start)" if controls and at == start else line,
        )
        for at, line in rows
    ]
    headings = [*(c.title for c in controls), "what it shows"]
    return table.html_table(headings, cells, caption=note, row_headings=False)


def text_table(
    controls: Sequence[Control], rows: Sequence[tuple[Position, str]], start: Position, note: str
) -> str:
    """The rows as aligned plain text; the start is marked with `>`."""
    if not controls:
        return "\n".join(line for _, line in rows)
    headings = [*(c.title for c in controls), "what it shows"]
    cells = [[*(c.labels[k] for c, k in zip(controls, at, strict=True)), line] for at, line in rows]
    marks = ["  ", *("> " if at == start else "  " for at, _ in rows)]
    drawn = table.text_table(headings, cells, left=len(headings))
    lines = [mark + line for mark, line in zip(marks, drawn, strict=True)]
    return "\n".join([*lines, note] if note else lines)

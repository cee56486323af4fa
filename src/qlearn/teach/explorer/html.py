"""An explorer as HTML: native controls that a keyboard and a screen reader know, and its data."""

import json
from functools import cache
from html import escape
from importlib.resources import files
from itertools import count
from typing import Any

from qlearn import needs
from qlearn.teach.explorer.bundle import Bundle, bundle_controls, bundle_frame, bundle_html


def markup(bundle: Bundle, ident: str) -> str:
    """The figure element that the page's script (`assets/explorer.js`) brings to life.

    `ident` must be unique on the page. The plot's height is reserved, so nothing moves when it is
    drawn; without the script the reader has the start's line and the table.
    """
    _, start = bundle_controls(bundle)
    line = escape(bundle_frame(bundle, start)["text"])
    title = escape(bundle["title"])
    named = f'aria-labelledby="{ident}-title"' if title else 'aria-label="figure"'
    heading = f'<p class="qx-title" id="{ident}-title">{title}</p>' if title else ""
    fields = "".join(_field(c, f"{ident}-{k}") for k, c in enumerate(bundle["controls"]))
    controls = f'<div class="qx-controls">{fields}</div>' if fields else ""
    return (
        f'<figure class="qx" id="{ident}" {named}>{heading}{controls}'
        f'<div class="qx-plot" style="height:{int(bundle["height"])}px" role="img" '
        f'aria-label="{line}"></div>'
        f'<figcaption aria-live="polite">{line}</figcaption>'
        f"{_table(bundle, ident) if fields else ''}"
        f'<script type="application/json">{as_json(bundle)}</script></figure>'
    )


def as_json(bundle: Bundle) -> str:
    """The bundle as JSON that is safe inside a script element."""
    text = json.dumps(bundle, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _field(control: dict[str, Any], ident: str) -> str:
    """One labelled control; `autocomplete=off` keeps a reload from restoring another position."""
    index, labels = control["index"], control["labels"]
    common = f'id="{ident}" data-control autocomplete="off"'
    label = f'<label for="{ident}">{escape(control["title"])}</label>'
    if control["kind"] == "checkbox":
        checked = " checked" if index else ""
        return f'<div class="qx-field"><input type="checkbox" {common}{checked}>{label}</div>'
    if control["kind"] == "select":
        options = "".join(
            f'<option value="{k}"{" selected" if k == index else ""}>{escape(text)}</option>'
            for k, text in enumerate(labels)
        )
        return f'<div class="qx-field">{label}<select {common}>{options}</select></div>'
    value = escape(labels[index])
    return (
        f'<div class="qx-field">{label}<input type="range" {common} min="0" '
        f'max="{len(labels) - 1}" step="1" value="{index}" aria-valuetext="{value}">'
        f'<output for="{ident}">{value}</output></div>'
    )


def _table(bundle: Bundle, ident: str) -> str:
    """Every value in a table: behind a summary on a screen, always there on paper."""
    return (
        '<details class="qx-more"><summary>Table of values</summary></details>'
        f'<div class="qx-table" role="region" tabindex="0" aria-label="Table of values" '
        f'id="{ident}-table">{bundle_html(bundle)}</div>'
    )


@cache
def asset(name: str) -> str:
    """The text of `explorer.js` or `explorer.css`."""
    return (files("qlearn.teach.explorer") / "assets" / name).read_text(encoding="utf-8")


_numbers = count(1)  # of the figures in this kernel: an element's name must be its own


def standalone(bundle: Bundle) -> str:
    """The figure with its style, its script and all of plotly.js.

    It moves with no kernel and no network, and weighs 4 to 5 MB.
    """
    with needs("course"):
        from plotly.offline import get_plotlyjs

    return (
        f"<style>{asset('explorer.css')}</style>{markup(bundle, f'qx-own-{next(_numbers)}')}"
        f"<script>window.Plotly || (() => {{{get_plotlyjs()}}})()</script>"
        f"<script>{asset('explorer.js')}</script>"
    )

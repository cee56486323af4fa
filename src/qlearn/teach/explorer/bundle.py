"""The bundle that a page gets: an explorer's controls and every one of its positions, as JSON.

`frames` holds one tree a position; or the page sums one: `base`, and `terms` with one table a group
of controls. A tree is `{"data", "layout", "text"}`; `pool` holds what several trees have in common,
or the tables.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qlearn.teach.explorer.additive import DIGITS
from qlearn.teach.explorer.controls import Control, Position, count, positions, values_at
from qlearn.teach.explorer.formula import resolve, words
from qlearn.teach.explorer.grid import as_figure, frame, height, plain, restore, share
from qlearn.teach.explorer.groups import add_terms, controls_sizes, make_groups, make_terms
from qlearn.teach.explorer.text import fill, html_table, spoken, table_positions, text_table

MIME = "application/vnd.qlearn.explorer+json"
LIMIT = 500  # positions computed ahead, one figure each
Bundle = dict[str, Any]


def make_bundle(
    figure: Callable[..., Any],
    controls: Sequence[Control],
    describe: Callable[..., Any],
    start: Position,
    title: str,
    additive: bool | Sequence[Sequence[str]],
) -> Bundle:
    """Compute every position (or every term) of an explorer.

    A position whose function raises becomes a frame that says so, marked `error`: a reader's own
    quantizer may fail at one width and work at the others.

    Raises:
        ValueError: more than `LIMIT` positions without `additive`, or a figure that isn't additive.
    """
    names = [(control.name,) for control in controls] if additive is True else additive
    groups = [] if names is False else make_groups(controls, names)
    bundle: Bundle = {
        "version": 1,
        "title": title,
        "height": height(as_figure(figure(**values_at(controls, start)))),
        "controls": [
            {"name": c.name, "title": c.title, "labels": list(c.labels), "kind": c.kind, "index": k}
            for c, k in zip(controls, start, strict=True)
        ],
    }
    if groups:
        base, pool, terms = make_terms(
            controls, start, lambda at: _terms(figure, describe, values_at(controls, at)), groups
        )
        return {**bundle, "pool": pool, "base": base, "terms": terms}
    check_count(controls)
    pool, frames = share(
        [_tree(figure, describe, values_at(controls, at)) for at in positions(controls)]
    )
    return {**bundle, "pool": pool, "frames": frames}


def check_count(controls: Sequence[Control]) -> None:
    """Refuse more positions than are computed one by one.

    Raises:
        ValueError: more than `LIMIT` positions.
    """
    total = count(controls)
    if total > LIMIT:
        sizes = " x ".join(str(len(control.values)) for control in controls)
        raise ValueError(
            f"controls has {sizes} = {total:,} positions, and {LIMIT} at most are computed ahead; "
            "give fewer values, or additive=True where the figure is a sum of one term a control "
            "(a list of groups where it is one term a group)"
        )


def failure(error: Exception, values: Mapping[str, Any]) -> str:
    """What the text line says where the reader's function raised."""
    at = ", ".join(f"{name}={value!r}" for name, value in values.items())
    return f"{type(error).__name__} at {at}: {error}"


def _tree(
    figure: Callable[..., Any], describe: Callable[..., Any], values: dict[str, Any]
) -> dict[str, Any]:
    try:
        return {**frame(figure(**values)), "text": spoken(describe(**values))}
    except Exception as error:  # whatever the reader's function raises is theirs to read
        return {"data": [], "layout": {}, "text": failure(error, values), "error": True}


def _terms(
    figure: Callable[..., Any], describe: Callable[..., Any], values: dict[str, Any]
) -> dict[str, Any]:
    said = describe(**values)
    spoken(said)  # refuses what can't be filled in
    text: dict[str, Any]
    if isinstance(said, str):
        text = {"line": said}
    else:
        for template in words(said[0]):  # the ones not chosen here as well
            fill(template, said[1])
        text = {"template": said[0], "numbers": dict(said[1])}
    return {**frame(figure(**values), DIGITS, True), "text": plain(text, DIGITS, True)}


def bundle_controls(bundle: Bundle) -> tuple[tuple[Control, ...], Position]:
    """The controls that a bundle describes (their labels stand for their values), and the start."""
    controls = tuple(
        Control(c["name"], tuple(c["labels"]), tuple(c["labels"]), c["kind"])
        for c in bundle["controls"]
    )
    return controls, tuple(c["index"] for c in bundle["controls"])


def bundle_frame(bundle: Bundle, position: Position) -> dict[str, Any]:
    """The `{"data", "layout", "text"}` of one position, as the page's script finds it."""
    if "base" in bundle:
        sizes = controls_sizes(bundle_controls(bundle)[0])
        tree = resolve(add_terms(bundle["base"], bundle["pool"], bundle["terms"], sizes, position))
        text = tree["text"]
        line = text["line"] if "line" in text else fill(text["template"], text["numbers"])
        return {**tree, "text": line}
    at = 0
    for control, k in zip(bundle["controls"], position, strict=True):
        at = at * len(control["labels"]) + k
    tree = restore(bundle["pool"], bundle["frames"][at])
    assert isinstance(tree, dict)
    return tree


def errors(bundle: Bundle) -> list[str]:
    """The lines of the positions whose function raised."""
    return [tree["text"] for tree in bundle.get("frames", []) if tree.get("error")]


def _rows(
    bundle: Bundle,
) -> tuple[tuple[Control, ...], list[tuple[Position, str]], Position, str]:
    controls, start = bundle_controls(bundle)
    shown, note = table_positions(controls, start)
    return controls, [(at, bundle_frame(bundle, at)["text"]) for at in shown], start, note


def bundle_html(bundle: Bundle) -> str:
    """The table that stands where the page's script can't run, and on paper."""
    return html_table(*_rows(bundle))


def bundle_text(bundle: Bundle) -> str:
    """The table for a terminal."""
    table = text_table(*_rows(bundle))
    return f"{bundle['title']}\n{table}" if bundle["title"] else table

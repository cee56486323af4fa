"""Figures as plain JSON, small enough to send one for each position of an explorer's controls."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from qlearn import needs
from qlearn.teach.explorer.formula import Choice, Ratio

with needs("course"):
    import numpy as np
    import plotly.graph_objects as go

DIGITS = 6  # significant: finer than a pixel of any plot here
HEIGHT = 420  # px, for a figure that names none
_POOL_MIN = 24  # characters: a shorter part costs less where it stands than as a reference


def plain(value: Any, digits: int = DIGITS, formulas: bool = False) -> Any:
    """`value` as JSON data: arrays as lists, numbers to `digits` significant digits, NaN as None.

    With `formulas`, a number or word of `formula` becomes its operands, not its value.

    >>> plain({"y": np.array([1 / 3, 2.0]), "name": "a"})
    {'y': [0.333333, 2], 'name': 'a'}
    """
    if formulas and isinstance(value, (Choice, Ratio)):
        return plain(value.formula, digits, formulas)
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return _round(value, digits)
    if isinstance(value, dict):
        if "bdata" in value and "dtype" in value:
            return plain(_typed_array(value), digits)
        return {str(key): plain(item, digits, formulas) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, digits, formulas) for item in value]
    if hasattr(value, "tolist"):  # numpy arrays and scalars, torch tensors
        return plain(value.tolist(), digits, formulas)
    return str(value)


def _round(value: float, digits: int) -> float | int | None:
    if not math.isfinite(value):
        return None  # JSON has neither NaN nor infinity; plotly leaves a gap
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 2**53 else rounded


def _typed_array(value: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The numbers in plotly's base64 form of an array."""
    import base64

    array = np.frombuffer(base64.b64decode(value["bdata"]), dtype=np.dtype(value["dtype"]))
    if "shape" in value:
        array = array.reshape([int(size) for size in str(value["shape"]).split(",")])
    return array


def frame(figure: Any, digits: int = DIGITS, formulas: bool = False) -> dict[str, Any]:
    """The data and layout of one figure, without template, width and height: the page sets these.

    Raises:
        ValueError: `figure` is not a plotly figure.
    """
    drawn = plain(as_figure(figure).to_plotly_json(), digits, formulas)
    layout = drawn.get("layout", {})
    for key in ("template", "width", "height", "autosize"):
        layout.pop(key, None)
    return {"data": drawn["data"], "layout": layout}


def as_figure(figure: Any) -> go.Figure:
    """`figure`, once it is known to be one.

    Raises:
        ValueError: it is not a plotly figure.
    """
    if not isinstance(figure, go.Figure):
        raise ValueError(
            f"the figure function returned {type(figure).__name__}, not a plotly Figure; "
            "return plotly.graph_objects.Figure(...) or a figure from qlearn.teach.figures"
        )
    return figure


def height(figure: go.Figure) -> int:
    """The height in px that the figure asks for, or the course's own."""
    return int(figure.layout.height or HEIGHT)


def share(frames: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Send what frames have in common once: (pool, frames), with `{"$": k}` where pool[k] stood.

    Lists of numbers are shared whole, objects and lists of objects part by part.

    >>> share([{"x": list(range(20)), "y": 1}, {"x": list(range(20)), "y": 2}])[1]
    [{'x': {'$': 0}, 'y': 1}, {'x': {'$': 0}, 'y': 2}]
    """
    uses: Counter[str] = Counter()
    for item in frames:
        _count(item, uses)
    pool: list[Any] = []
    known: dict[str, int] = {}
    return pool, [_refer(item, uses, pool, known) for item in frames]


def _key(node: Any) -> str | None:
    """What makes two parts the same; None for a part too small to be worth a reference."""
    if not isinstance(node, (dict, list)):
        return None
    text = json.dumps(node, sort_keys=True, separators=(",", ":"))
    return text if len(text) >= _POOL_MIN else None


def _parts(node: Any) -> list[Any]:
    """The parts of a node that may be shared on their own."""
    if isinstance(node, dict):
        return list(node.values())
    if isinstance(node, list) and node and isinstance(node[0], dict):
        return node
    return []


def _count(node: Any, uses: Counter[str]) -> None:
    key = _key(node)
    if key is None:
        return
    uses[key] += 1
    if uses[key] == 1:  # parts of a part that is sent once are sent once with it
        for part in _parts(node):
            _count(part, uses)


def _refer(node: Any, uses: Counter[str], pool: list[Any], known: dict[str, int]) -> Any:
    key = _key(node)
    if key is None or uses[key] < 2:
        return _inside(node, uses, pool, known)
    if key not in known:
        body = _inside(node, uses, pool, known)
        known[key] = len(pool)
        pool.append(body)
    return {"$": known[key]}


def _inside(node: Any, uses: Counter[str], pool: list[Any], known: dict[str, int]) -> Any:
    if isinstance(node, dict):
        return {key: _refer(part, uses, pool, known) for key, part in node.items()}
    if _parts(node):
        return [_refer(part, uses, pool, known) for part in node]
    return node


def restore(pool: Sequence[Any], node: Any) -> Any:
    """The inverse of `share` for one frame, as the page's script does it."""
    if isinstance(node, dict):
        if "$" in node:
            return restore(pool, pool[node["$"]])
        return {key: restore(pool, part) for key, part in node.items()}
    if isinstance(node, list) and node and isinstance(node[0], dict):
        return [restore(pool, part) for part in node]
    return node

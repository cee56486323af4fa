"""Numbers and words of an explorer that are no sums, worked out on the page from numbers that are.

A largest context is a quotient, a verdict is a comparison. `ratio` gives a number and `choice`
gives a word, which a figure function or `describe` uses like any other; an additive explorer sends
the operands (each a sum over groups of controls) and the page's script does the last step.

Comparing and rounding down would show the noise that sums in a different order leave, so both
look at twelve significant digits.
"""

import math
from decimal import ROUND_HALF_UP, Context
from typing import Any

Parts = dict[str, Any]
_TWELVE_DIGITS = Context(prec=12, rounding=ROUND_HALF_UP)  # as JavaScript's toPrecision


class Ratio(float):
    """A number that remembers the operands it was worked out from."""

    formula: Parts


class Choice(str):
    """A word that remembers what it was chosen from."""

    formula: Parts


def ratio(
    over: float,
    under: float,
    *,
    floor: bool = False,
    low: float | None = None,
    high: float | None = None,
) -> Ratio:
    """`over / under`, kept within `low` and `high`, then rounded down where `floor` says so.

    >>> ratio(10, 4), ratio(10, 4, floor=True), ratio(10, 4, high=2)
    (2.5, 2.0, 2.0)

    Raises:
        ValueError: `under` is zero, `low` is above `high`, or an operand is no number.
    """
    formula: Parts = {"op": "ratio", "over": over, "under": under, "floor": int(floor)}
    formula.update({k: v for k, v in (("low", low), ("high", high)) if v is not None})
    _check_numbers(formula, ("over", "under", "low", "high"))
    if under == 0:
        raise ValueError(f"ratio of {over:g} and under=0 has no value; keep the divisor above 0")
    if low is not None and high is not None and low > high:
        raise ValueError(f"low={low:g} is above high={high:g}; exchange them")
    made = Ratio(_work(formula))
    made.formula = formula
    return made


def choice(a: float, b: float, if_less_or_equal: str, otherwise: str) -> Choice:
    """The first word where `a <= b`, the second where it isn't.

    The words may be templates for `describe`, or choices themselves.

    >>> choice(3.9, 24, "fits", "does not fit")
    'fits'

    Raises:
        ValueError: an operand is no number, or a word is no text.
    """
    formula: Parts = {"op": "choice", "a": a, "b": b, "then": if_less_or_equal, "else": otherwise}
    _check_numbers(formula, ("a", "b"))
    for name, word in (("if_less_or_equal", if_less_or_equal), ("otherwise", otherwise)):
        if not isinstance(word, str):
            raise ValueError(f"{name}={word!r} is no text; give a word or a template")
    made = Choice(_work(formula))
    made.formula = formula
    return made


def _check_numbers(formula: Parts, names: tuple[str, ...]) -> None:
    for name in names:
        value = formula.get(name, 0)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise ValueError(f"{name}={value!r} is not a finite number; give one, in any unit")


def resolve(node: Any) -> Any:
    """A JSON tree with each formula in it replaced by its value, as the page's script does it."""
    if isinstance(node, list):
        return [resolve(part) for part in node] if any(map(_nests, node)) else node
    if not isinstance(node, dict):
        return node
    parts = {key: resolve(part) for key, part in node.items()}
    return _work(parts) if parts.get("op") in ("ratio", "choice") else parts


def words(text: str) -> list[str]:
    """Every text that a choice may turn out to be; a plain text alone.

    >>> words(choice(1, 2, "yes", choice(3, 2, "perhaps", "no")))
    ['yes', 'perhaps', 'no']
    """
    if not isinstance(text, Choice):
        return [text]
    return [*words(text.formula["then"]), *words(text.formula["else"])]


def _nests(node: Any) -> bool:
    return isinstance(node, (dict, list))


def _clean(value: float) -> float:
    return float(_TWELVE_DIGITS.create_decimal(value))


def _work(parts: Parts) -> Any:
    if parts["op"] == "choice":
        return parts["then"] if _clean(parts["a"]) <= _clean(parts["b"]) else parts["else"]
    value = min(_clean(parts["over"] / parts["under"]), parts.get("high", math.inf))
    value = max(value, parts.get("low", -math.inf))
    return math.floor(value) if parts["floor"] else value

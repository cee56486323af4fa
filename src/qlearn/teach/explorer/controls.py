"""The controls of an explorer: named, finite choices, the same in a kernel and on a page."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

Position = tuple[int, ...]


@dataclass(frozen=True)
class Control:
    """One control: `values` go to the figure function, `labels` are what the reader sees.

    `kind` is "range" (a slider), "checkbox" (exactly False and True) or "select" (names without
    an order).
    """

    name: str
    values: tuple[Any, ...]
    labels: tuple[str, ...]
    kind: str

    @property
    def title(self) -> str:
        """The name as the reader sees it: `group_size` -> `group size`."""
        return self.name.replace("_", " ")

    def index(self, value: Any) -> int:
        """Where `value` stands among the values; a label is accepted in its place.

        Raises:
            ValueError: neither a value nor a label of this control.
        """
        for k, known in enumerate(self.values):
            if _same(known, value):
                return k
        if isinstance(value, str) and value in self.labels:
            return self.labels.index(value)
        raise ValueError(f"{self.name}={value!r} is not one of its values; choose {self.choices}")

    @property
    def choices(self) -> str:
        """The labels, for a message: at most eight of them."""
        shown = ", ".join(self.labels[:8])
        return shown if len(self.labels) <= 8 else f"{shown}, ... ({len(self.labels)} in all)"


def _same(known: Any, value: Any) -> bool:
    """Whether two values are the same choice; True is not 1, and tensors need not compare."""
    if known is value:
        return True
    if isinstance(known, bool) is not isinstance(value, bool):
        return False
    try:
        return bool(known == value)
    except (RuntimeError, TypeError, ValueError):  # e.g. tensors of more than one element
        return False


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def make_controls(controls: Mapping[str, Sequence[Any] | Mapping[str, Any]]) -> tuple[Control, ...]:
    """Turn `{name: values}` or `{name: {label: value}}` into controls.

    Raises:
        ValueError: no mapping, a name that can't be a keyword, no values, or a label twice.
    """
    if not isinstance(controls, Mapping) or not controls:
        raise ValueError(
            f"controls={controls!r} has no control; give a mapping such as "
            "{'bits': range(2, 9)}, or use explorer.show(figure, description) without sliders"
        )
    return tuple(_make_control(name, values) for name, values in controls.items())


def _make_control(name: str, values: Sequence[Any] | Mapping[str, Any]) -> Control:
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(
            f"controls has the name {name!r}, which can't be an argument of the figure function; "
            "use a Python name such as 'group_size'"
        )
    if isinstance(values, str):
        raise ValueError(f"controls[{name!r}]={values!r} is one string; give a list of values")
    if isinstance(values, Mapping):
        labels, choices = tuple(str(label) for label in values), tuple(values.values())
    else:
        choices = tuple(values)
        labels = tuple(str(value) for value in choices)
    if not choices:
        raise ValueError(f"controls[{name!r}] has no values; give at least one")
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ValueError(f"controls[{name!r}] has the value {twice[0]} twice; name each value once")
    if len(choices) == 2 and choices[0] is False and choices[1] is True:
        return Control(name, choices, ("off", "on"), "checkbox")
    # Names have no order to slide along; one number among them (sizes, then "tensor") gives one.
    kind = "range" if any(_is_number(value) for value in choices) else "select"
    return Control(name, choices, labels, kind)


def start_position(controls: Sequence[Control], start: Mapping[str, Any] | None) -> Position:
    """The position that `start` names; a control that it leaves out starts at its first value.

    Raises:
        ValueError: a name that is no control, or a value that its control does not have.
    """
    return move(controls, (0,) * len(controls), start or {}, argument="start")


def move(
    controls: Sequence[Control],
    position: Position,
    values: Mapping[str, Any],
    argument: str = "set",
) -> Position:
    """`position` with the controls named in `values` moved there.

    Raises:
        ValueError: a name that is no control, or a value that its control does not have.
    """
    names = [control.name for control in controls]
    unknown = [name for name in values if name not in names]
    if unknown:
        raise ValueError(
            f"{argument} names {unknown[0]!r}, which is no control; choose from {', '.join(names)}"
        )
    return tuple(
        control.index(values[control.name]) if control.name in values else k
        for control, k in zip(controls, position, strict=True)
    )


def count(controls: Sequence[Control]) -> int:
    """How many positions the controls have together."""
    return math.prod(len(control.values) for control in controls)


def positions(controls: Sequence[Control]) -> Iterator[Position]:
    """Every position, the last control moving fastest (the order of the frames on a page)."""
    return product(*(range(len(control.values)) for control in controls))


def values_at(controls: Sequence[Control], position: Position) -> dict[str, Any]:
    """The keyword arguments of the figure function at `position`."""
    return {control.name: control.values[k] for control, k in zip(controls, position, strict=True)}

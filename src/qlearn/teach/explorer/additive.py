"""Explorers of more positions than can be sent: a base figure, and what each value adds to it.

A figure is additive when each number in it is a sum of one term a control (a bar that stacks
weights, cache and activations), and each word in it follows one control alone. Then the base at
the start and one set of differences a value give every position, and the browser does the sum.
"""

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from qlearn.teach.explorer.controls import Control, Position, count

DIGITS = 12  # of the terms: their sum must hold the six digits that a frame has
SAMPLES = 20  # positions on which the sum is compared with the true figure
TOLERANCE = 1e-6  # of the largest number in the leaf

Path = tuple[str | int, ...]
Draw = Callable[[Position], Any]


def leaves(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The leaves of a JSON tree: numbers, arrays of numbers, and words (anything else).

    >>> list(leaves({"y": [1, 2], "name": "a"}))
    [(('y',), [1, 2]), (('name',), 'a')]
    """
    if isinstance(node, dict):
        for key, part in node.items():
            yield from leaves(part, (*path, key))
    elif isinstance(node, list) and node and isinstance(node[0], dict):
        for k, part in enumerate(node):
            yield from leaves(part, (*path, k))
    else:
        yield path, node


def shape(leaf: Any) -> tuple[int, ...] | None:
    """() for a number, the sizes for an array of numbers, None for anything else."""
    if isinstance(leaf, bool) or not isinstance(leaf, (int, float, list)):
        return None
    if not isinstance(leaf, list):
        return ()
    shapes = {shape(item) for item in leaf}
    if len(shapes) != 1 or None in shapes:
        return None
    inner = shapes.pop()
    return None if inner is None else (len(leaf), *inner)


def combine(a: Any, b: Any, sign: int = 1) -> Any:
    """Give a + sign * b, for numbers and for nested lists of one shape."""
    if isinstance(a, list):
        return [combine(x, y, sign) for x, y in zip(a, b, strict=True)]
    return a + sign * b


def dotted(path: Path) -> str:
    """A leaf's path as a reader of plotly's documentation would write it."""
    return ".".join(str(key) for key in path)


def make_parts(
    controls: Sequence[Control], start: Position, draw: Draw
) -> tuple[Any, list[list[list[list[Any]]]]]:
    """The tree at `start`, and `parts[control][value]`: a list of [path, term, is_word].

    `draw` gives the JSON tree of one position.

    Raises:
        ValueError: the figure isn't additive; the message names the leaf.
    """
    base = draw(start)
    at_base = dict(leaves(base))
    owners: dict[Path, str] = {}
    parts = [
        [_part(control, k, start, at, draw, at_base, owners) for k in range(len(control.values))]
        for at, control in enumerate(controls)
    ]
    verify(controls, draw, lambda at: add_up(base, parts, at))
    return base, parts


def _part(
    control: Control,
    k: int,
    start: Position,
    at: int,
    draw: Draw,
    at_base: dict[Path, Any],
    owners: dict[Path, str],
) -> list[list[Any]]:
    """What value `k` of one control changes, the others standing at the start."""
    if k == start[at]:
        return []
    there = dict(leaves(draw((*start[:at], k, *start[at + 1 :]))))
    where = f"{control.name}={control.labels[k]}"
    for path in at_base.keys() ^ there.keys():
        raise not_additive(path, f"is there at the start or at {where}, not at both")
    changes: list[list[Any]] = []
    for path, old in at_base.items():
        new = there[path]
        if new == old:
            continue
        if shape(old) is not None and shape(new) == shape(old):
            changes.append([list(path), combine(new, old, -1), 0])
        elif owners.setdefault(path, control.name) == control.name:
            changes.append([list(path), new, 1])
        else:
            raise not_additive(path, f"is changed by {owners[path]} and by {control.name}")
    return changes


def add_up(base: Any, parts: Sequence[Sequence[Sequence[Any]]], position: Position) -> Any:
    """The tree at `position`, summed as the page's script sums it."""
    tree = copy.deepcopy(base)
    for control, k in zip(parts, position, strict=True):
        for path, term, is_word in control[k]:
            node = tree
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = term if is_word else combine(node[path[-1]], term)
    return tree


def sample(controls: Sequence[Control], samples: int, seed: int = 0) -> list[Position]:
    """`samples` positions drawn with a fixed seed, or fewer where there are no more."""
    draw = random.Random(seed)
    sizes = [len(control.values) for control in controls]
    wanted = min(samples, count(controls))
    found: dict[Position, None] = {}
    while len(found) < wanted:
        found[tuple(draw.randrange(size) for size in sizes)] = None
    return list(found)


def verify(controls: Sequence[Control], draw: Draw, add: Draw) -> None:
    """Compare what `add` sums with what `draw` draws, at both ends and on positions by chance.

    Raises:
        ValueError: they differ; the message names the leaf.
    """
    last = tuple(len(control.values) - 1 for control in controls)
    for position in [(0,) * len(controls), last, *sample(controls, SAMPLES)]:
        where = ", ".join(
            f"{c.name}={c.labels[k]}" for c, k in zip(controls, position, strict=True)
        )
        path = difference(draw(position), add(position))
        if path is not None:
            raise not_additive(path, f"at {where} is not the sum of its terms")


def difference(true: Any, summed: Any, tolerance: float = TOLERANCE) -> Path | None:
    """The first leaf in which two trees differ by more than `tolerance` of its size, if any."""
    ours, theirs = dict(leaves(true)), dict(leaves(summed))
    for path in ours.keys() ^ theirs.keys():
        return path
    for path, a in ours.items():
        b = theirs[path]
        if a == b:
            continue
        if shape(a) is None or shape(a) != shape(b):
            return path
        flat_a, flat_b = flat(a), flat(b)
        allowed = tolerance * max(map(abs, [*flat_a, 1e-12]))
        if any(abs(x - y) > allowed for x, y in zip(flat_a, flat_b, strict=True)):
            return path
    return None


def flat(leaf: Any) -> list[float]:
    """The numbers of a leaf, one after the other."""
    return [x for item in leaf for x in flat(item)] if isinstance(leaf, list) else [leaf]


def not_additive(path: Path, reason: str) -> ValueError:
    """The error that says which leaf is no sum, and what to do."""
    return ValueError(
        f"the explorer is additive, but its {dotted(path)} {reason}; give each control (or each "
        "group that additive names) a term of its own, make a quotient with explorer_formula.ratio "
        "and a verdict with explorer_formula.choice, or use additive=False with at most 500 "
        "positions"
    )

"""What sums of figures are made of: the leaves of their trees, added, sampled and compared.

A figure is additive when each number in it is a sum of one term a control, or a group of controls
(a bar that stacks weights, cache and activations), and each word in it follows one alone. Then the
base at the start and a table of terms give every position (`groups`), and the browser sums them.
"""

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
        "group that additive names) a term of its own, make a quotient with "
        "qlearn.teach.explorer.ratio and a verdict with qlearn.teach.explorer.choice, or use "
        "additive=False with at most 500 positions"
    )

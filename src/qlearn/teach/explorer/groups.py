"""Explorers whose figure is a sum of terms, one a group of controls.

Weights depend on the model and its bits, a cache on the model, its own bits, the context and the
batch: a table over each group's values gives every one of a hundred thousand positions, and the
page's script does the sum. A leaf that one group explains alone is sent as it is; any other number
is sent as its value at the start and what each group adds to it, the smallest group first.
"""

import copy
from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

from qlearn.teach.explorer.additive import (
    DIGITS,
    Draw,
    Path,
    combine,
    flat,
    leaves,
    not_additive,
    shape,
    verify,
)
from qlearn.teach.explorer.controls import Control, Position
from qlearn.teach.explorer.grid import plain

LIMIT = 5_000  # positions drawn ahead, all groups together
NOISE = 1e-11  # of the numbers that a difference was taken of: what rounding leaves
Group = tuple[int, ...]  # controls by number, in their order
Term = list[Any]  # [path, controls, number of the table in the pool, whether it replaces]


def make_groups(controls: Sequence[Control], names: Sequence[Sequence[str]]) -> list[Group]:
    """The groups as numbers of controls, the one of fewest positions first.

    Raises:
        ValueError: a group that is empty or no list of names, an unknown name, a name twice in a
            group, a control in no group, or more than `LIMIT` positions to draw.
    """
    known = [control.name for control in controls]
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise ValueError(
            f"additive={names!r} names no group; give True, or a list of groups of controls "
            f"such as {[tuple(known)]}"
        )
    groups = []
    for group in names:
        if isinstance(group, str) or not isinstance(group, Sequence) or not group:
            raise ValueError(
                f"additive has the group {group!r}, which is no list of names; write "
                f"({group!r},) for a group of one control, and leave out empty groups"
            )
        for name in group:
            if name not in known:
                raise ValueError(
                    f"additive names {name!r}, which is no control; choose from {', '.join(known)}"
                )
        if len(set(group)) < len(group):
            raise ValueError(f"additive has {tuple(group)!r} with a name twice; name each once")
        groups.append(tuple(sorted(known.index(name) for name in group)))
    missing = [name for k, name in enumerate(known) if not any(k in group for group in groups)]
    if missing:
        raise ValueError(
            f"additive has no group with {missing[0]!r}; add ({missing[0]!r},), or name it in the "
            "group of what it changes"
        )
    groups.sort(key=lambda group: _size(controls, group))
    total = sum(_size(controls, group) for group in groups)
    if total > LIMIT:
        raise ValueError(
            f"additive has groups of {total:,} positions together, and {LIMIT:,} at most are drawn "
            "ahead; give fewer values, or smaller groups"
        )
    return groups


def make_terms(
    controls: Sequence[Control], start: Position, draw: Draw, groups: Sequence[Group]
) -> tuple[Any, list[list[Any]], list[Term]]:
    """The tree at `start`, the tables, and the terms that point to them.

    Raises:
        ValueError: the figure is not a sum over these groups; the message names the leaf.
    """
    base = draw(start)
    seen = {start: dict(leaves(base))}
    for group in groups:
        for at in _places(controls, start, group):
            if at not in seen:
                seen[at] = dict(leaves(draw(at)))
    for at, tree in seen.items():
        for path in tree.keys() ^ seen[start].keys():
            where = ", ".join(f"{c.name}={c.labels[k]}" for c, k in zip(controls, at, strict=True))
            raise not_additive(path, f"is there at the start or at {where}, not at both")
    pool: list[list[Any]] = []
    terms: list[Term] = []
    for path, first in seen[start].items():
        leaf = {at: tree[path] for at, tree in seen.items()}
        if any(value != first for value in leaf.values()):
            for group, table, replaces in _explain(controls, start, groups, path, leaf):
                which, values = _narrow(controls, group, table)
                if values not in pool:
                    pool.append(values)
                terms.append([list(path), list(which), pool.index(values), int(replaces)])
    verify(controls, draw, lambda at: add_terms(base, pool, terms, controls_sizes(controls), at))
    return base, pool, terms


def controls_sizes(controls: Sequence[Control]) -> list[int]:
    """How many values each control has."""
    return [len(control.values) for control in controls]


def add_terms(
    base: Any,
    pool: Sequence[Sequence[Any]],
    terms: Sequence[Term],
    sizes: Sequence[int],
    position: Position,
) -> Any:
    """The tree at `position`, summed as the page's script sums it."""
    tree = copy.deepcopy(base)
    for path, which, table, replaces in terms:
        k = 0
        for control in which:
            k = k * sizes[control] + position[control]
        node = tree
        for key in path[:-1]:
            node = node[key]
        term = pool[table][k]
        node[path[-1]] = term if replaces else combine(node[path[-1]], term)
    return tree


def _size(controls: Sequence[Control], group: Group) -> int:
    return prod(len(controls[k].values) for k in group)


def _places(controls: Sequence[Control], start: Position, group: Group) -> Iterator[Position]:
    """The positions of a group's values, its last control moving fastest, the others at start."""
    for values in product(*(range(len(controls[k].values)) for k in group)):
        at = list(start)
        for k, value in zip(group, values, strict=True):
            at[k] = value
        yield tuple(at)


def _onto(at: Position, start: Position, group: Group) -> Position:
    """`at` with the controls outside of the group put back to the start."""
    return tuple(k if c in group else start[c] for c, k in enumerate(at))


def _explain(
    controls: Sequence[Control],
    start: Position,
    groups: Sequence[Group],
    path: Path,
    leaf: dict[Position, Any],
) -> list[tuple[Group, list[Any], bool]]:
    """One leaf's tables: of one group alone, or of several that are added to its start."""
    for group in groups:
        if all(value == leaf[_onto(at, start, group)] for at, value in leaf.items()):
            return [(group, [leaf[at] for at in _places(controls, start, group)], True)]
    if shape(leaf[start]) is None or len({shape(value) for value in leaf.values()}) > 1:
        raise not_additive(path, "is no number, and more than one group changes it")
    left = {at: combine(value, leaf[start], -1) for at, value in leaf.items()}
    large = {at: max(map(abs, flat([value, leaf[start]]))) for at, value in leaf.items()}
    found = []
    for group in groups:
        terms = {at: _tidy(left[at], large[at]) for at in _places(controls, start, group)}
        for at in left:
            onto = _onto(at, start, group)
            left[at] = combine(left[at], terms[onto], -1)
            large[at] = max(large[at], large[onto])
        if any(any(flat(term)) for term in terms.values()):
            found.append((group, list(terms.values()), False))
    return found


def _tidy(term: Any, large: float) -> Any:
    """A term to twelve digits, and zero where it is no more than the noise of what it came of."""
    if isinstance(term, list):
        return [_tidy(item, large) for item in term]
    return 0 if abs(term) <= NOISE * large else plain(float(term), DIGITS)


def _narrow(controls: Sequence[Control], group: Group, table: list[Any]) -> tuple[Group, list[Any]]:
    """A group's table without the controls that change nothing in it."""
    for k, control in enumerate(group):
        inner = prod(len(controls[c].values) for c in group[k + 1 :])
        size = len(controls[control].values)
        rows = [table[at : at + inner] for at in range(0, len(table), inner)]
        if all(row == rows[at - at % size] for at, row in enumerate(rows)):
            kept = [item for row in rows[::size] for item in row]
            return _narrow(controls, (*group[:k], *group[k + 1 :]), kept)
    return group, table

"""Mutation testing of the graders: ``results/graders.json``.

Each reference solution of the assignments' source notebooks is changed in one place at a time: an
operator swapped, a comparison turned, a constant moved by one, a keyword's value changed, a
statement dropped. The grader must refuse every mutant. Those that it accepts are listed with their
change: they are equivalent, or a case is missing. The capstone's entry is left out, since any
decoder within the budget is a right one.

    python tests/benchmarks/graders.py [assignment or question ...]
"""

from __future__ import annotations

import ast
import contextlib
import copy
import json
import signal
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from _results import save

from qlearn.assignments import assignments, find
from qlearn.assignments.a6.entry import EntryQuestion
from qlearn.measure.results import load

COMMAND = "python tests/benchmarks/graders.py"
ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "notebooks" / "assignments" / "source"
SEED = 20_261
SECONDS = 60  # of CPU: a mutant may loop for ever
SWAPS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.USub: ast.UAdd,
}
# Why what is accepted is right, or near enough.
EQUIVALENT = {
    "a1.model": "A grid fitted to its row never lets the clamp act on these weights.",
    "a2.reach": "Shares are accepted within 2%, so 95 and 97 columns for 96 pass.",
    "a2.groups": "On a grid fitted to the group the clamp's lower end never acts.",
    "a3.witness": "Any input that shows the bug is right: other draws, sizes and grids are too.",
    "a3.gptq": "The second column that is written is written again when its turn comes.",
    "a3.model": "zip(strict=True) only guards against lists of different lengths.",
    "a3.groups": "The second column that is written is written again when its turn comes.",
    "a4.search": "A factor on all errors leaves the smallest the smallest.",
    "a4.block": (
        "Unrounded, any exponent folds away; layers that share a source share their inputs, and a "
        "source that is a layer feeds one alone."
    ),
    "a5.bytes": "Numbers are accepted within 0.01%: these changes move them by less.",
    "a6.budget": "Norms are 0.03% of the model, and each number may be off by 0.5%.",
    "a6.allocate": (
        "Up to 1.1 times the loss is as good: so is a choice without 5 bits, or by a rule near the "
        "right one. No step of these layers saves less than nothing."
    ),
    "a5.step": (
        "The base needs no gradient, but one harms nobody: only the adapters are returned. A hook "
        "gets a layer's one input, which is its last too."
    ),
}
DROPPED = (ast.Assign, ast.AugAssign, ast.Expr, ast.If, ast.For)


class TooLong(BaseException):
    """The mutant ran out of time. Not an Exception, so that no mutant catches it."""


def solved(source: str) -> set[int]:
    """The numbers of the lines that are the solution; the others of its cell are given."""
    inside: set[int] = set()
    begun = False
    for number, line in enumerate(source.splitlines(), 1):
        begun = (begun or "### BEGIN SOLUTION" in line) and "### END SOLUTION" not in line
        inside |= {number} if begun else set()
    return inside


def places(tree: ast.AST, lines: set[int]) -> Iterator[tuple[str, int]]:
    """What can be changed on these lines: a kind of change, and the node's place in a walk."""
    for k, node in enumerate(ast.walk(tree)):
        if isinstance(node, ast.FunctionDef | ast.For | ast.If | ast.Module):
            for place, statement in enumerate(node.body):
                own = isinstance(statement, DROPPED) and statement.lineno in lines
                if own and not _given(statement):
                    yield f"drop {place}", k
        if getattr(node, "lineno", 0) not in lines:
            continue
        if isinstance(node, ast.BinOp | ast.AugAssign | ast.UnaryOp | ast.BoolOp):
            if type(node.op) in SWAPS:
                yield "operator", k
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
            yield "operator", k
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield "constant", k
        elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            yield from (("constant + 1", k), ("constant - 1", k))


def mutant(tree: ast.AST, change: str, place: int) -> tuple[ast.AST, str]:
    """The tree with one change, and a line that says which."""
    changed = copy.deepcopy(tree)
    node: Any = next(node for k, node in enumerate(ast.walk(changed)) if k == place)
    before = ast.unparse(node)
    if change.startswith("drop"):
        gone = node.body[int(change.split()[1])]
        node.body[int(change.split()[1])] = ast.Pass()
        return ast.fix_missing_locations(changed), f"without: {_line(gone)}"
    if change == "operator" and isinstance(node, ast.Compare):
        node.ops[0] = SWAPS[type(node.ops[0])]()
    elif change == "operator":
        node.op = SWAPS[type(node.op)]()
    elif change == "constant":
        node.value = not node.value
    else:
        node.value += 1 if change == "constant + 1" else -1
    return ast.fix_missing_locations(changed), f"{_short(before)} -> {_short(ast.unparse(node))}"


def solutions(path: Path, last: str = "") -> tuple[dict[str, Any], dict[str, str]]:
    """The names that a source notebook leaves, and the source of each solution cell.

    The run ends with the solution of the question ``last``, or with the capstone's tools: its
    entry is no question for mutants, and takes minutes.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    sources = {}
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for cell in cells:
            if cell["cell_type"] != "code":
                continue
            text = "".join(cell["source"])
            tags = cell["metadata"].get("nbgrader", {})
            if tags.get("grade"):
                continue
            question_id = tags["grade_id"].replace("_", ".", 1) if tags.get("solution") else ""
            if question_id and isinstance(find(question_id), EntryQuestion):
                break
            exec(text, names)
            if question_id:
                sources[question_id] = textwrap.dedent(text)
                if question_id == last:
                    break
    return names, sources


def survives(question: Any, code: ast.AST, names: dict[str, Any]) -> bool:
    """Whether the grader accepts a mutant."""
    own = dict(names)
    signal.signal(signal.SIGPROF, _stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        exec(compile(code, "mutant", "exec"), own)
        return bool(question.mark(own[question.answer], SEED).verdict.passed)
    except (Exception, TooLong):
        return False
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def measure(assignment: str, only: str = "") -> list[dict[str, Any]]:
    """A row for each question of an assignment, or for one of them."""
    (path,) = SOURCE.glob(f"{assignment}_*/{assignment}_*.ipynb")
    names, sources = solutions(path, only)
    rows = []
    for question_id, source in sources.items():
        question, start = find(question_id), time.perf_counter()
        if only not in ("", question_id):
            continue
        tree = ast.parse(source)
        made = [mutant(tree, change, place) for change, place in places(tree, solved(source))]
        made = [(code, what) for code, what in made if ast.dump(code) != ast.dump(tree)]
        # What the solution itself has left would stand in for a statement that is gone.
        others = {name: value for name, value in names.items() if name not in _assigned(tree)}
        alive = [what for code, what in made if survives(question, code, others)]
        rows.append(
            {
                "question": question_id,
                "mutants": len(made),
                "caught": len(made) - len(alive),
                "accepted": alive,
                **({"why": EQUIVALENT[question_id]} if alive and question_id in EQUIVALENT else {}),
            }
        )
        seconds = time.perf_counter() - start
        caught = f"{len(made) - len(alive)} of {len(made)}"
        print(f"{question_id}: {caught}, {seconds:.0f} s", alive, flush=True)
    return rows


def main() -> None:
    torch.set_num_threads(1)
    wanted = sys.argv[1:] or [a for a in assignments() if [*SOURCE.glob(f"{a}_*/{a}_*.ipynb")]]
    try:
        known = {row["question"]: row for row in load("graders")["rows"]}
    except OSError:
        known = {}
    for one in wanted:
        known |= {row["question"]: row for row in measure(one.partition(".")[0], question_of(one))}
    rows = [known[question] for question in sorted(known)]
    for row in rows:  # a reason that was written since
        if row["accepted"] and row["question"] in EQUIVALENT:
            row["why"] = EQUIVALENT[row["question"]]
    share = sum(row["caught"] for row in rows) / sum(row["mutants"] for row in rows)
    save("graders", rows, COMMAND, seed=SEED, share_caught=round(share, 4))
    print(f"{share:.1%} caught")


def question_of(name: str) -> str:
    """The question that a name on the command line means; '' for a whole assignment."""
    return name if "." in name else ""


def _stop(*_: Any) -> None:
    raise TooLong


def _assigned(code: ast.AST) -> set[str]:
    """Names that a cell assigns at its top level."""
    return {
        node.id
        for statement in getattr(code, "body", [])
        if not isinstance(statement, ast.FunctionDef)
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def _given(statement: ast.stmt) -> bool:
    """Whether a statement is no part of the solution: a docstring, or a prediction's template."""
    blanks = (getattr(node, "value", None) is ... for node in ast.walk(statement))
    return any(blanks) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def _line(statement: ast.stmt) -> str:
    return _short(ast.unparse(statement).partition("\n")[0])


def _short(text: str) -> str:
    return text if len(text) <= 70 else f"{text[:67]}..."


if __name__ == "__main__":
    main()

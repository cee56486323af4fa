"""The tools of quantization beside each other, one model on one machine: ``results/toolbox.json``.

Every tool quantizes smollm2-135m and saves it, loads it in a process of its own that tells what
memory it takes, predicts eight rows of the evaluation split, and writes 64 tokens behind 32 for one
sequence and for eight. While speed is measured all tools stay loaded and take turns, FP32 among
them; two threads; medians. Each tool lives in an environment that is made once, in the cache. A
tool that fails keeps its row, which says how it failed. With names as arguments only those rows are
measured anew, beside FP32.

    make bench-tools [ARGS="torch-bf16 bitsandbytes-nf4"]
"""

from __future__ import annotations

import importlib.util
import json
import re
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from _environments import python_with
from _results import save
from _toolbox_facts import described, newest, versions
from _toolbox_process import THREADS, ToolError, Worker
from _toolbox_worker import PROMPT, WRITTEN

from qlearn import load_tokenizer, load_tokens
from qlearn.measure.results import load
from qlearn.models.packaged import converted_folder

FOLDER = Path(__file__).parent
COMMAND = "make bench-tools"
MODEL, BASELINE = "smollm2-135m", "torch-fp32"
ROWS_OF_TEXT, CALIBRATION_ROWS = 8, 32
ROUNDS = {1: 3, 8: 3}  # measured rounds at each batch, behind one that warms up
MINUTES = {"make": 15, "load": 5, "reference": 5, "quality": 10, "decode": 2}  # at most
COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # of a terminal
MOST_ERROR = 160  # characters of an error's text
PAUSE = 0.3  # seconds between turns: a tool's threads may spin on for a while
PACKAGE = ("version", "packages", "newest", "released", "checked", "measured")
MEASURED = (
    *("seconds_to_make", "make_peak_bytes", "disk_bytes", "seconds_to_load", "resident_bytes"),
    *("peak_bytes", "perplexity", "kl", "top1"),
    *(f"{what}_{batch}" for what in ("tokens_per_second", "times_float32") for batch in ROUNDS),
)


@dataclass
class Contender:
    """One row in the making."""

    script: Path
    about: dict[str, Any]  # as the tool's file has it
    row: dict[str, Any]  # as it goes into the results
    python: Path | None = None
    worker: Worker | None = None
    seconds: dict[int, list[float]] = field(default_factory=dict)  # a token, by batch

    def fails(self, error: Exception) -> None:
        """Keep the row, with what went wrong."""
        stage, _, rest = str(error).partition(": ")
        tried = self.about.get("tried") or f"{self.about['install']}, then {stage}"
        said = textwrap.shorten(COLOURS.sub("", rest or stage), MOST_ERROR, placeholder=" ...")
        self.row |= {"error": said, "tried": tried}
        self.worker = None
        print(f"  {self.row['name']}: {error}", file=sys.stderr, flush=True)

    @property
    def whole(self) -> bool:
        """Whether nothing has failed so far."""
        return self.row["error"] is None


def contenders(scripts: Iterable[Path]) -> list[Contender]:
    """The rows of the tools' files, in order."""
    found = []
    for script in scripts:
        spec = importlib.util.spec_from_file_location(script.stem, script)
        assert spec and spec.loader
        tool = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(tool)
        for name, about in tool.ROWS.items():
            about = {"environment": (tool.ENVIRONMENT, *tool.REQUIREMENTS), **about}
            row = described(name, about, script.read_text())
            row |= dict.fromkeys((*PACKAGE, *MEASURED, "error", "tried"))
            found.append(Contender(script, about, row))
    return found


def prepare(entrant: Contender) -> None:
    """Make the environment; note versions and dates."""
    name, *requirements = entrant.about["environment"]
    try:
        entrant.python = python_with(name, *requirements) if name else Path(sys.executable)
        used = versions(entrant.python, entrant.about["packages"])
        entrant.row |= {"version": used.get(entrant.row["tool"]), "packages": used}
    except (OSError, subprocess.CalledProcessError) as error:
        entrant.fails(ToolError(f"install: {type(error).__name__}"))
    if entrant.about.get("published", True):
        entrant.row |= newest(entrant.row["tool"])
    entrant.row["measured"] = datetime.now(UTC).date().isoformat()


def ask(entrant: Contender, do: str, job: Path, **more: Any) -> dict[str, Any]:
    """Have a contender do something, in the process that it has or in a new one.

    A failure is noted in the row; the answer is empty then.
    """
    if not entrant.whole:
        return {}
    try:
        if entrant.worker is None:
            assert entrant.python
            entrant.worker = Worker(entrant.python, entrant.script, entrant.row["name"], job)
        return entrant.worker.ask(do, 60 * MINUTES[do], **more)
    except ToolError as error:
        entrant.fails(error)
        return {}


def quantized(entrant: Contender, job: Path) -> None:
    """Quantize in one process; load, look at memory and quality in the next, which stays."""
    begun = time.perf_counter()
    for do in ("make", "load", "quality"):
        entrant.row |= ask(entrant, do, job)
        if do == "make" and entrant.worker:
            entrant.worker.close()
            entrant.worker = None
        if do == "load" and entrant.row["name"] == BASELINE:
            ask(entrant, "reference", job)
    took = time.perf_counter() - begun
    print(f"{entrant.row['name']}: {took:.0f} s", file=sys.stderr, flush=True)


def take_turns(entrants: list[Contender], job: Path) -> None:
    """Tokens a second of all that stand, which decode one after another.

    A tool whose speed here would not be its own says so by ``speed``, and has none.
    """
    entrants = [each for each in entrants if each.about.get("speed", True)]
    for batch, rounds in ROUNDS.items():
        for turn in range(rounds + 1):
            for entrant in entrants:
                found = ask(entrant, "decode", job, batch=batch)
                if found and turn:  # the first round warms up
                    each = found["seconds"] / found["tokens"]
                    entrant.seconds.setdefault(batch, []).append(each)
                time.sleep(PAUSE)
        exact = next(each for each in entrants if each.row["name"] == BASELINE).seconds.get(batch)
        for entrant in entrants:
            if entrant.whole and exact:
                mine = statistics.median(entrant.seconds[batch])
                times = round(statistics.median(exact) / mine, 3)
                entrant.row |= {f"tokens_per_second_{batch}": round(1 / mine, 2)}
                entrant.row |= {f"times_float32_{batch}": times}


def measure(entrants: list[Contender], job: Path) -> None:
    """Fill in the rows; the baseline is the first."""
    try:
        for entrant in entrants:
            prepare(entrant)
        for entrant in entrants:
            quantized(entrant, job)
        take_turns(entrants, job)
    finally:
        for entrant in entrants:
            if entrant.worker:
                entrant.worker.close()


def lay_out(job: Path) -> None:
    """What every worker reads."""
    tokenizer = load_tokenizer(MODEL)
    for name, split, rows in (
        ("tokens", "evaluation", ROWS_OF_TEXT),
        ("calibration", "calibration", CALIBRATION_ROWS),
    ):
        np.save(job / f"{name}.npy", load_tokens(tokenizer, "editorials", split, rows).numpy())
    (job / "job.json").write_text(json.dumps({"model": str(converted_folder(MODEL))}))


def chosen(entrants: list[Contender], names: list[str]) -> list[Contender]:
    """The rows named, or all; the baseline first."""
    known = [each.row["name"] for each in entrants]
    for name in names:
        if name not in known:
            raise SystemExit(f"{name!r} is no row; choose from {', '.join(known)}")
    kept = [each for each in entrants if not names or each.row["name"] in (*names, BASELINE)]
    return sorted(kept, key=lambda each: each.row["name"] != BASELINE)


def merged(order: list[str], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """These rows, and the recorded ones that they don't replace, in the tools' order."""
    try:
        known = {row["name"]: row for row in load("toolbox")["rows"]}
    except FileNotFoundError:
        known = {}
    known |= {row["name"]: row for row in rows}
    return [known[name] for name in order if name in known]


def main() -> None:
    """Measure the rows that are named, or all."""
    everyone = contenders(sorted(FOLDER.glob("_tool_*.py")))
    everyone.sort(key=lambda each: each.row["name"] != BASELINE)
    entrants = chosen(everyone, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        lay_out(Path(folder))
        measure(entrants, Path(folder))
    rows = merged([each.row["name"] for each in everyone], [each.row for each in entrants])
    save(
        "toolbox",
        rows,
        COMMAND,
        model=MODEL,
        corpus="editorials",
        split="evaluation",
        rows_of_512=ROWS_OF_TEXT,
        calibration_rows=CALIBRATION_ROWS,
        prompt=PROMPT,
        written=WRITTEN,
        rounds=list(ROUNDS.values()),
        threads=THREADS,
    )
    for row in rows:
        print({key: value for key, value in row.items() if key not in ("lines", "needs", "state")})


if __name__ == "__main__":
    main()

"""The course's commands: each brings the set-up up to date, then calls one program.

Standard library only: they run before anything is installed.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tools.checks import check, lint, loaders, run_tests
from tools.environment import PREFETCH, Environment, setup
from tools.errors import TaskError
from tools.loaders import layer
from tools.new_chapter import new

ROOT = Path(__file__).resolve().parents[1]
# What Python is given to build the site: strictly, a warning is an error.
# "--all": otherwise a changed script or style sheet stays as it was while no page changes.
BUILD_SITE = [
    *("-c", "from jupyter_book.cli.main import main; main()", "build", "."),
    *("--config", "_config.yml", "--toc", "book/_toc.yml", "-W", "-n", "--keep-going", "--all"),
]

WITH_LOADERS = ("qat_torchao",)  # benchmarks that import what must not lie in `.venv`


def duration(seconds: float) -> str:
    """Write a duration for people.

    >>> duration(7.4), duration(125)
    ('7 s', '2 min 5 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def chapters(root: Path) -> list[Path]:
    """List the chapters' notebooks in order."""
    return sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def book(environment: Environment, more: list[str]) -> int:
    """Build the site, strictly, and say where it is."""
    begun = time.monotonic()
    status = environment.run([*BUILD_SITE, *more])
    if status == 0:
        page = environment.root / "_build" / "html" / "index.html"
        print(f"Built in {duration(time.monotonic() - begun)}. Open {page.as_uri()}")
    return status


def lab(environment: Environment, more: list[str]) -> int:
    """Open JupyterLab at the first chapter."""
    start = [str(path) for path in chapters(environment.root)[:1]]
    return environment.run(["-m", "jupyterlab", *start, *more])


def notebooks(environment: Environment, more: list[str]) -> int:
    """Execute the chapters again in place, all or those named, and record what each takes."""
    return environment.run(["tests/benchmarks/chapters.py", *more])


def bench(environment: Environment, more: list[str]) -> int:
    """Run the benchmarks in order; each rewrites its file of `src/qlearn/measure/results/`."""
    folder = environment.root / "tests" / "benchmarks"
    for script in sorted(folder.glob("[!_]*.py")):
        if more and script.stem not in more:
            continue
        begun = time.monotonic()
        print(f"{script.stem} ...", flush=True)
        whose = layer(environment) if script.stem in WITH_LOADERS else environment
        status = whose.run([str(script)])
        if status:
            return status
        print(f"{script.stem}: {duration(time.monotonic() - begun)}", flush=True)
    return 0


def bench_tools(environment: Environment, more: list[str]) -> int:
    """Measure the tools beside each other, all rows or those named; `bench` does it too."""
    script = environment.root / "tests" / "benchmarks" / "toolbox.py"
    return environment.run([str(script), *more])


def grade_demo(environment: Environment, more: list[str]) -> int:
    """Grade a synthetic class of 200 through nbgrader, and check every score."""
    return environment.run(["tests/benchmarks/classroom.py", *more])


def set_up_alone(*_: object) -> int:
    """Make .venv and fetch the model, and stop there."""
    return 0


def fetch(*_: object) -> int:
    """Fetch the model and the texts with this very Python."""
    return subprocess.run([sys.executable, "-c", PREFETCH], check=False).returncode


def capstone_board(environment: Environment, more: list[str]) -> int:
    """Print the capstone's leaderboard, a page of Markdown; takes the entries' file."""
    return environment.run(["-m", "qlearn.course.capstone_board", *more])


TASKS: dict[str, Callable[..., int]] = {
    "setup": set_up_alone,
    "fetch": fetch,
    "book": book,
    "test": run_tests,
    "check": check,
    "lint": lint,
    "loaders": loaders,
    "lab": lab,
    "notebooks": notebooks,
    "new": new,
    "bench": bench,
    "bench-tools": bench_tools,
    "grade-demo": grade_demo,
    "capstone-board": capstone_board,
}


def parser() -> argparse.ArgumentParser:
    """Describe the command line; asking for help sets nothing up."""
    described = argparse.ArgumentParser(
        prog="python -m qlearn",
        description="Set up and use the quantization course.",
        epilog="`python -m qlearn TASK --help` says more about a task; `make TASK` is the same.",
    )
    described.add_argument(
        "--newest", action="store_true", help="the newest allowed packages, not the pinned ones"
    )
    tasks = described.add_subparsers(dest="task", required=True, metavar="TASK")
    for name, task in TASKS.items():
        first, _, rest = (task.__doc__ or "").partition("\n")
        tasks.add_parser(
            name,
            help=first[0].lower() + first[1:].rstrip("."),
            description=f"{first} {' '.join(rest.split())}".strip(),
            usage=f"python -m qlearn {name} [arguments for the program behind it]",
            allow_abbrev=False,  # of the arguments for that program
        )
    return described


def main(arguments: list[str]) -> int:
    """Run one task; give the exit status.

    What follows the task's name goes on to the program that it calls: `test -k packing`.
    """
    options, more = parser().parse_known_args(arguments)
    if not (ROOT / "constraints.txt").is_file():
        print("qlearn: run this in a clone of the course's repository", file=sys.stderr)
        return 2
    if options.task == "fetch":
        return fetch()
    begun = time.monotonic()
    try:
        environment = setup(ROOT, newest=options.newest, say=lambda line: print(line, flush=True))
        spent = time.monotonic() - begun
        if spent > 5 or options.task == "setup":
            print(f"Set up in {duration(spent)}.", flush=True)
        return TASKS[options.task](environment, more)
    except TaskError as error:
        print(f"qlearn: {error}", file=sys.stderr)
        return 1

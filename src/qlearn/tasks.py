"""The course's commands: each brings the set-up up to date, then calls one program.

Standard library only: they run before anything is installed.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from qlearn.tasks_errors import TaskError
from qlearn.tasks_setup import PREFETCH, Environment, setup

ROOT = Path(__file__).resolve().parents[2]
# What Python is given to build the site: strictly, a warning is an error.
# "--all": otherwise a changed script or style sheet stays as it was while no page changes.
BUILD_SITE = [
    *("-c", "from jupyter_book.cli.main import main; main()", "build", "."),
    *("--config", "_config.yml", "--toc", "book/_toc.yml", "-W", "-n", "--keep-going", "--all"),
]


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


def run(environment: Environment, arguments: list[str]) -> int:
    """Run the environment's Python in the clone, its output shown; give its exit status."""
    command = [str(environment.python), *arguments]
    variables = environment.variables(os.environ)
    done = subprocess.run(command, cwd=environment.root, env=variables, check=False)
    return done.returncode


def book(environment: Environment, more: list[str]) -> int:
    """Build the site, strictly, and say where it is."""
    begun = time.monotonic()
    status = run(environment, [*BUILD_SITE, *more])
    if status == 0:
        page = environment.root / "_build" / "html" / "index.html"
        print(f"Built in {duration(time.monotonic() - begun)}. Open {page.as_uri()}")
    return status


def run_tests(environment: Environment, more: list[str]) -> int:
    """Run all tests: the package, the notebooks, the site."""
    return run(environment, ["-m", "pytest", *more])


def lab(environment: Environment, more: list[str]) -> int:
    """Open JupyterLab at the first chapter."""
    start = [str(path) for path in chapters(environment.root)[:1]]
    return run(environment, ["-m", "jupyterlab", *start, *more])


def notebooks(environment: Environment, more: list[str]) -> int:
    """Execute the chapters again in place, outputs normalised."""
    return run(environment, ["-m", "qlearn.notebooks", "--execute", *more])


def bench(environment: Environment, more: list[str]) -> int:
    """Run the benchmarks in order; each rewrites its file of `src/qlearn/results/`."""
    folder = environment.root / "tests" / "benchmarks"
    for script in sorted(folder.glob("[!_]*.py")):
        if more and script.stem not in more:
            continue
        begun = time.monotonic()
        print(f"{script.stem} ...", flush=True)
        status = run(environment, [str(script)])
        if status:
            return status
        print(f"{script.stem}: {duration(time.monotonic() - begun)}", flush=True)
    return 0


def bench_tools(environment: Environment, more: list[str]) -> int:
    """Measure the tools beside each other, all rows or those named; `bench` does it too."""
    script = environment.root / "tests" / "benchmarks" / "toolbox.py"
    return run(environment, [str(script), *more])


def grade_demo(environment: Environment, more: list[str]) -> int:
    """Grade a synthetic class of 200 through nbgrader, and check every score."""
    programs = [str(environment.python), "-c", "import nbgrader"]
    if subprocess.run(programs, capture_output=True, check=False).returncode:
        pip = ["-m", "pip", "install", "--quiet", "-c", "constraints.txt", "-e", ".[classroom]"]
        if status := run(environment, pip):
            return status
    return run(environment, ["tests/benchmarks/classroom.py", *more])


TASKS: dict[str, Callable[[Environment, list[str]], int]] = {
    "book": book,
    "test": run_tests,
    "lab": lab,
    "notebooks": notebooks,
    "bench": bench,
    "bench-tools": bench_tools,
    "grade-demo": grade_demo,
}


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    described = argparse.ArgumentParser(
        prog="python -m qlearn", description="Set up and use the quantization course."
    )
    described.add_argument(
        "--newest", action="store_true", help="the newest allowed packages, not the pinned ones"
    )
    tasks = described.add_subparsers(dest="task", required=True, metavar="task")
    tasks.add_parser("setup", help="make .venv and fetch the model, and stop there")
    tasks.add_parser("fetch", help="fetch the model and the texts with this very Python")
    for name, task in TASKS.items():
        help_line = (task.__doc__ or "").splitlines()[0]
        tasks.add_parser(name, help=help_line, add_help=False)
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
        return subprocess.run([sys.executable, "-c", PREFETCH], check=False).returncode
    begun = time.monotonic()
    try:
        environment = setup(ROOT, newest=options.newest, say=lambda line: print(line, flush=True))
    except TaskError as error:
        print(f"qlearn: {error}", file=sys.stderr)
        return 1
    spent = time.monotonic() - begun
    if spent > 5 or options.task == "setup":
        print(f"Set up in {duration(spent)}.", flush=True)
    return 0 if options.task == "setup" else TASKS[options.task](environment, more)

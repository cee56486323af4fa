"""The commands: help that installs nothing, what each one runs, and what it says when it fails."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from tools import checks, tasks
from tools.environment import Environment
from tools.errors import TaskError

ROOT = Path(__file__).parents[2]


def test_an_old_python_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 8, 18))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "qlearn" / "__main__.py"), run_name="__main__")
    assert str(stopped.value).startswith("qlearn: Python 3.8 is too old, the course needs 3.11")
    assert "\n" not in str(stopped.value)


@pytest.fixture
def bare_clone(tmp_path):
    """A clone without `.venv`, and an interpreter that finds no installed package."""
    python = Path(sys.base_prefix) / ("python.exe" if os.name == "nt" else "bin/python3")
    if not python.exists():
        pytest.skip(f"no interpreter at {python}")
    for name in ("qlearn", "src", "tools", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).symlink_to(ROOT / name)

    def run(*arguments):
        command = [str(python), "-S", "-m", *arguments]
        clean = {name: value for name, value in os.environ.items() if "PYTHON" not in name}
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=clean, check=False
        )

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        ["qlearn", "--help"],
        ["qlearn.capstone_board", "--help"],
        *(["qlearn", task, "--help"] for task in tasks.TASKS),
        ["qlearn", "test", "-k", "packing", "-h"],
    ],
    ids=" ".join,
)
def test_help_is_help_with_nothing_installed(bare_clone, arguments, tmp_path):
    shown = bare_clone(*arguments)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("usage: python -m qlearn")
    assert len(shown.stdout.splitlines()) > 3
    assert shown.stderr == ""
    assert not (tmp_path / ".venv").exists()


def test_an_unknown_task_names_those_there_are(bare_clone):
    shown = bare_clone("qlearn", "nothing")
    assert shown.returncode == 2
    assert "choose from" in shown.stderr


@pytest.mark.parametrize(
    "program", ["course.capstone_board", "course.notebooks", "classroom", "models.pocket.train"]
)
def test_each_program_of_the_package_describes_itself(program):
    command = [sys.executable, "-m", f"qlearn.{program}", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("usage: ")


def test_children_find_the_environments_programs_first():
    environment = Environment(Path("clone/.venv"))
    variables = environment.variables({"PATH": "elsewhere", "PYTHONHOME": "x"})
    assert variables["PATH"].split(os.pathsep) == [str(environment.programs), "elsewhere"]
    assert "PYTHONHOME" not in variables


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """What `main` would run, with the set-up left out."""
    ran = []

    def run(_, arguments, program="python", **variables):
        ran.append(arguments if program == "python" else [program, *arguments])
        return 0

    monkeypatch.setattr(tasks, "setup", lambda *_, **__: Environment(tmp_path / ".venv"))
    monkeypatch.setattr(Environment, "run", run)
    monkeypatch.setattr(checks, "memory_bytes", lambda: 2_000_000_000)
    return ran


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        (["test", "-k", "packing"], ["-m", "pytest", "-k", "packing"]),
        (["book"], ["-c", "from jupyter_book.cli.main import main; main()", "build", "."]),
        (["notebooks"], ["tests/benchmarks/chapters.py"]),
        (["lab", "--no-browser"], ["-m", "jupyterlab"]),
        (["capstone-board", "entries.json"], ["-m", "qlearn.course.capstone_board"]),
    ],
)
def test_each_task_calls_its_program_with_what_follows(commands, arguments, begins):
    assert tasks.main(arguments) == 0
    assert commands[0][: len(begins)] == begins
    assert commands[0][-len(arguments) + 1 :] == arguments[1:] or len(arguments) == 1


def test_the_site_is_built_strictly_and_its_place_told(commands, capsys):
    tasks.main(["book"])
    assert {"-W", "-n", "--keep-going"} <= set(commands[0])
    assert "_build/html/index.html" in capsys.readouterr().out


def test_a_failed_program_gives_its_status(monkeypatch, commands):
    monkeypatch.setattr(Environment, "run", lambda *_, **__: 3)
    assert tasks.main(["test"]) == 3
    assert tasks.main(["book"]) == 3


def test_benchmarks_run_in_order_and_stop_at_a_failure(monkeypatch, tmp_path):
    folder = tmp_path / "tests" / "benchmarks"
    folder.mkdir(parents=True)
    for name in ("b.py", "a.py", "_shared.py"):
        (folder / name).write_text("", encoding="utf-8")
    ran = []
    monkeypatch.setattr(
        Environment, "run", lambda _, line: ran.append(Path(line[0]).stem) or len(ran) - 1
    )
    environment = Environment(tmp_path / ".venv")
    assert tasks.bench(environment, []) == 1
    assert ran == ["a", "b"]
    ran.clear()
    assert tasks.bench(environment, ["b"]) == 0
    assert ran == ["b"]


def test_the_tools_table_is_measured_alone(commands, tmp_path):
    tasks.main(["bench-tools", "qlearn-int4"])
    script = tmp_path / "tests" / "benchmarks" / "toolbox.py"
    assert commands == [[str(script), "qlearn-int4"]]


def test_a_failed_set_up_is_one_line_on_stderr(monkeypatch, capsys):
    def fail(*_, **__):
        raise TaskError("no network: connect")

    monkeypatch.setattr(tasks, "setup", fail)
    assert tasks.main(["test"]) == 1
    captured = capsys.readouterr()
    assert captured.err == "qlearn: no network: connect\n"
    assert captured.out == ""


def test_the_fast_lane_lints_first_and_stops_at_a_fault(commands, monkeypatch):
    assert tasks.main(["check"]) == 0
    assert [line[0] for line in commands[:3]] == ["ruff", "ruff", "lint-imports"]
    assert commands[-1][:4] == ["-m", "pytest", "-m", checks.FAST]
    ran = []
    monkeypatch.setattr(Environment, "run", lambda _, line, **__: ran.append(line) or 1)
    assert tasks.main(["check"]) == 1
    assert len(ran) == 1


@pytest.mark.parametrize(
    ("cores", "memory", "processes"), [(2, 24e9, 2), (8, None, 8), (1, 9e9, 1)]
)
def test_tests_run_side_by_side_with_a_core_each(monkeypatch, tmp_path, cores, memory, processes):
    ran = []
    for name in checks.one_share(2, 2):  # set where `make test` runs this very test
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(checks, "cores", lambda: cores)
    monkeypatch.setattr(checks, "memory_bytes", lambda: memory and int(memory))
    monkeypatch.setattr(Environment, "run", lambda _, line, **more: ran.append((line, more)) or 0)
    checks.run_tests(Environment(tmp_path / ".venv"), ["-k", "x"])
    ((line, more),) = ran
    aside = ["-n", str(processes)] if processes > 1 else []
    assert line == ["-m", "pytest", *aside, "-k", "x"]
    assert more == {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    checks.run_tests(Environment(tmp_path / ".venv"), [])
    assert "OMP_NUM_THREADS" not in ran[-1][1]  # what the reader has set stays

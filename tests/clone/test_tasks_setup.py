"""The set-up: what it runs, in which order, and what it says when it can't."""

import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tools import environment as tasks_setup
from tools import loaders, torch_build
from tools.environment import Environment
from tools.errors import CommandError, TaskError, diagnose

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clone(tmp_path):
    """A folder that looks like a clone, to set up with commands that are recorded, not run."""
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


@pytest.fixture
def recorder(monkeypatch, clone):
    """Records each command; `answers` maps a word of a command to an output, or to a failure."""
    seen = SimpleNamespace(commands=[], said=[], answers={})

    def runner(*_):
        def run(command):
            line = " ".join(command)
            seen.commands.append(line)
            for word, answer in seen.answers.items():
                if word in line:
                    if isinstance(answer, Exception):
                        raise answer
                    return answer
            return str(clone)

        return run

    def create(environment, _):
        seen.commands.append("create")
        environment.programs.mkdir(parents=True)
        environment.python.symlink_to(sys.executable)

    monkeypatch.delenv("QLEARN_CACHE", raising=False)
    monkeypatch.setattr(tasks_setup, "logged", runner)
    monkeypatch.setattr(tasks_setup, "create", create)
    monkeypatch.setattr(torch_build, "has_nvidia_gpu", lambda: False)
    monkeypatch.setattr(torch_build.platform, "system", lambda: "Linux")
    seen.setup = lambda **more: tasks_setup.setup(clone, say=seen.said.append, **more)
    return seen


def test_set_up_installs_torch_first_and_everything_pinned(recorder):
    recorder.setup()
    made, torch, rest, fetch, cache = recorder.commands
    assert made == "create"
    assert "install --retries 2 torch==2.13.0+cpu -c " in torch
    assert "-e .[dev]" in rest
    assert "-c " in rest
    assert "load_model" in fetch
    assert "cache_folder" in cache


def test_set_up_does_nothing_twice(recorder):
    recorder.setup()
    recorder.commands.clear()
    recorder.setup()
    assert recorder.commands == []


def test_set_up_runs_again_when_a_pin_changes(recorder, clone):
    recorder.setup()
    recorder.commands.clear()
    with (clone / "constraints.txt").open("a", encoding="utf-8") as file:
        file.write("another==1\n")
    recorder.setup()
    assert any("-e .[dev]" in line for line in recorder.commands)
    assert "create" not in recorder.commands


def test_set_up_runs_again_when_the_cache_moves_or_goes(recorder, monkeypatch, tmp_path):
    recorder.setup()
    stamp = {"cache": str(tmp_path / "gone")}
    assert tasks_setup.missing_cache(stamp)
    assert not tasks_setup.missing_cache({"cache": str(tmp_path)})
    monkeypatch.setenv("QLEARN_CACHE", str(tmp_path / "elsewhere"))
    assert tasks_setup.missing_cache({"cache": str(tmp_path)})


def test_a_moved_clone_is_set_up_afresh(recorder, clone):
    environment = recorder.setup()
    stamp = json.loads(environment.stamp.read_text(encoding="utf-8"))
    environment.stamp.write_text(json.dumps({**stamp, "root": "elsewhere"}), encoding="utf-8")
    recorder.commands.clear()
    shutil.rmtree(environment.programs)
    recorder.setup()
    assert recorder.commands[0] == "create"


def test_the_newest_packages_are_taken_without_constraints(recorder):
    recorder.setup(newest=True)
    assert not any("constraints.txt" in line for line in recorder.commands)
    assert not any("torch==" in line for line in recorder.commands)


def test_uv_is_tried_where_pip_knows_no_cpu_build(recorder):
    recorder.answers["+cpu"] = CommandError(["pip"], "No matching distribution found for torch")
    recorder.setup()
    assert any("--torch-backend=cpu torch==2.13.0" in line for line in recorder.commands)


def test_the_default_build_comes_last_and_only_where_the_disk_holds_it(recorder, monkeypatch):
    recorder.answers["+cpu"] = CommandError(["pip"], "No matching distribution found for torch")
    recorder.answers["--torch-backend"] = CommandError(["uv"], "client error (Connect)")
    free = SimpleNamespace(free=8_000_000_000)
    monkeypatch.setattr(torch_build.shutil, "disk_usage", lambda _: free)
    with pytest.raises(TaskError, match=r"needs 9 GB of disk, 8\.0 GB are free"):
        recorder.setup()
    free.free = 20_000_000_000
    recorder.setup()
    assert any(" install torch==2.13.0 -c " in line for line in recorder.commands)
    assert "several GB" in recorder.said[-3]


def test_no_network_stops_at_the_first_command(recorder):
    failure = "Retrying ... NewConnectionError ... No matching distribution found for torch"
    recorder.answers["install"] = CommandError(["pip"], failure)
    with pytest.raises(TaskError, match=r"^no network: .* run the same command again$"):
        recorder.setup()
    assert sum("install" in line for line in recorder.commands) == 1


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("Max retries exceeded with url", "no network"),
        ("[Errno 13] Permission denied: 'x'", "no permission to write"),
        ("THESE PACKAGES DO NOT MATCH THE HASHES do not match the hashes", "not the one expected"),
        ("ERROR: ResolutionImpossible: see", "exclude each other"),
        ("ERROR: No matching distribution found for nncf==3.4.0", "has no nncf==3.4.0 for this"),
        (
            "ResolutionImpossible\n The user requested a==1\n The user requested (constraint) a",
            "has no a==1 for this",
        ),
        ("Traceback\n  File x\nOSError: the cache is damaged; empty it", "the cache is damaged;"),
        ("ERROR: first\nERROR: last", "last"),
        ("words", "words"),
        ("", "it printed nothing"),
    ],
)
def test_each_failure_has_one_line(output, line):
    assert line in diagnose(output)
    assert "\n" not in diagnose(output)


def test_too_little_disk_is_told_before_anything_is_made(recorder, monkeypatch, clone):
    monkeypatch.setattr(tasks_setup.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    with pytest.raises(TaskError, match=r"needs 5 GB of free disk, 1\.0 GB are free"):
        recorder.setup()
    assert not (clone / ".venv").exists()


def test_a_python_without_venv_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(tasks_setup.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(TaskError, match=r"sudo apt install python3\.\d+-venv"):
        tasks_setup.create(Environment(tmp_path / ".venv"), print)


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="the administrator writes anywhere"
)
def test_a_folder_that_is_not_writable_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(TaskError, match="not writable"):
        tasks_setup.create(Environment(tmp_path / ".venv"), print)


def test_a_damaged_stamp_counts_as_none(tmp_path):
    environment = Environment(tmp_path)
    for text in ("{", "[1]", ""):
        environment.stamp.write_text(text, encoding="utf-8")
        assert tasks_setup.read_stamp(environment) == {}


@pytest.fixture
def base(tmp_path):
    """An environment as the set-up leaves it."""
    environment = Environment(tmp_path / ".venv")
    environment.folder.mkdir()
    environment.stamp.write_text('{"inputs": "a"}', encoding="utf-8")
    return environment


def test_packages_that_must_not_meet_get_a_layer_that_is_kept(base, monkeypatch, capsys):
    made = []

    def runner(*_):
        def run(command):
            made.append(command)
            place = base.folder / "loaders" / "lib"
            place.mkdir(parents=True, exist_ok=True)
            return f"{place}\n"

        return run

    monkeypatch.setattr(loaders, "logged", runner)
    monkeypatch.setattr(loaders.shutil, "which", lambda _: "cc")
    layered = loaders.layer(base)
    assert layered.root == base.root
    assert made[0][1:] == ["-m", "venv", "--clear", str(layered.folder)]
    assert made[-1][-len(loaders.PACKAGES) - 2 :] == [
        "-c",
        "constraints.txt",
        *loaders.PACKAGES,
    ]
    assert "addsitedir" in (layered.folder / "lib" / "below.pth").read_text(encoding="utf-8")
    count = len(made)
    assert loaders.layer(base) == layered
    assert len(made) == count
    assert str(layered.folder) in capsys.readouterr().out
    base.stamp.write_text('{"inputs": "b"}', encoding="utf-8")
    loaders.layer(base)
    assert len(made) == 2 * count


def test_a_missing_compiler_and_a_failed_layer_are_one_line(base, monkeypatch):
    monkeypatch.setattr(loaders.shutil, "which", lambda _: None)
    if os.name != "nt":
        with pytest.raises(TaskError, match="sudo apt install gcc libc6-dev"):
            loaders.layer(base)

    def fails(*_):
        def run(_):
            raise CommandError(["pip"], "Max retries exceeded with url")

        return run

    monkeypatch.setattr(loaders.shutil, "which", lambda _: "cc")
    monkeypatch.setattr(loaders, "logged", fails)
    with pytest.raises(TaskError, match="no network"):
        loaders.layer(base)

"""Results files: what they record, and what they refuse."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from qlearn.measure import results

ROWS = [{"bits": 4, "perplexity": 55.16}, {"bits": 3, "perplexity": 134.5}]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    return tmp_path / "results" / "quality"


@pytest.fixture
def writer(bench):
    """The benchmarks' writer of results."""
    return bench("_results")


def test_rows_come_back_with_their_origin(writer, folder):
    path = writer.save("rtn", ROWS, "python -m qlearn bench rtn", model="tiny", kind="quality")
    assert path == folder / "rtn.json"
    content = results.load("rtn")
    assert content["rows"] == ROWS
    assert content["command"] == "python -m qlearn bench rtn"
    assert content["model"] == "tiny"
    assert set(writer.ORIGIN) < set(content)
    assert content["versions"]["torch"] == metadata.version("torch")
    assert content["cores"] >= 1
    assert content["cpu"]
    assert [file.name for file in folder.iterdir()] == ["rtn.json"]


def test_the_commit_is_this_repository_s(writer):
    commit = writer.origin()["commit"]
    assert commit == "unknown" or len(bytes.fromhex(commit)) == 20


def test_a_refused_value_leaves_the_old_file_as_it_was(writer, folder):
    writer.save("rtn", ROWS, "command", kind="quality")
    before = (folder / "rtn.json").read_bytes()
    with pytest.raises(ValueError, match=r"\.item\(\)"):
        writer.save("rtn", [{"perplexity": torch.tensor(1.0)}], "command", kind="quality")
    assert (folder / "rtn.json").read_bytes() == before
    assert [file.name for file in folder.iterdir()] == ["rtn.json"]


def test_an_interrupted_write_leaves_the_old_file_as_it_was(writer, folder, monkeypatch):
    path = writer.save("rtn", ROWS, "command", kind="quality")
    before = path.read_bytes()

    def full(self, _target):
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(type(path), "replace", full)
    with pytest.raises(OSError, match="No space left"):
        writer.save("rtn", [{"bits": 2}], "command", kind="quality")
    assert path.read_bytes() == before
    assert [file.name for file in folder.iterdir()] == ["rtn.json"]


@pytest.mark.parametrize(
    ("arguments", "extra", "parts"),
    [
        (("Up/../x", ROWS, "c"), {}, ["name='Up/../x'", "lower-case"]),
        ((3, ROWS, "c"), {}, ["name=3"]),
        (("a", [], "c"), {}, ["rows of 'a' is empty"]),
        (("a", {"bits": 4}, "c"), {}, ["rows={'bits': 4}", "one mapping a row"]),
        (("a", [1, 2], "c"), {}, ["rows=[1, 2]", "one mapping a row"]),
        (("a", [{"x": float("nan")}], "c"), {}, ["rows of 'a'", "None"]),
        (("a", [{"x": float("inf")}], "c"), {}, ["rows of 'a'", "None"]),
        (("a", ROWS, "  "), {}, ["command='  '"]),
        (("a", ROWS, "c"), {"date": "today"}, ["date=", "another name"]),
    ],
)
def test_bad_input_to_save(writer, folder, arguments, extra, parts):
    with pytest.raises(ValueError, match=r".+") as caught:
        writer.save(*arguments, **extra, kind="quality")
    for part in parts:
        assert part in str(caught.value)
    assert not folder.exists()


@pytest.mark.usefixtures("folder")
def test_a_missing_file_names_those_there_are(writer):
    with pytest.raises(FileNotFoundError, match=r"'rtn'.*none yet.*qlearn bench"):
        results.load("rtn")
    writer.save("layers", ROWS, "command", kind="quality")
    with pytest.raises(FileNotFoundError, match=r"\(layers\)"):
        results.load("rtn")


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"rows": []})])
def test_a_damaged_file_is_named(writer, folder, text):
    folder.mkdir(parents=True)
    (folder / "rtn.json").write_text(text)
    with pytest.raises(OSError, match=r"rtn\.json is damaged.*git checkout"):
        results.load("rtn")


def test_every_committed_file_says_where_it_comes_from(writer):
    for path in results.FOLDER.rglob("*.json"):
        content = results.load(path.stem)
        missing = [name for name in writer.ORIGIN if name not in content]
        assert not missing, f"{path.name} lacks {missing}"
        assert content["rows"], path.name


def test_every_benchmark_finds_what_it_imports():
    """Most are run by hand or once a week: a module that has moved is to be noticed here."""
    folder = Path(__file__).parents[1] / "benchmarks"
    names = sorted(path.stem for path in folder.glob("[!_]*.py"))
    assert len(names) > 30
    code = f"import sys; sys.path[0] = {str(folder)!r}\nfor n in {names!r}: __import__(n)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]

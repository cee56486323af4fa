"""The notebooks' machinery: normal form, execution, comparison, and its command."""

import math
import shutil
import subprocess
import sys
import types
from pathlib import Path

import nbformat
import pytest
from chapter_bands import BANDS, USUAL, band
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from qlearn.course.notebooks import tool
from qlearn.course.notebooks.compare import differences
from qlearn.course.notebooks.normal import WIDGET_VIEW, normalise
from qlearn.course.notebooks.run import execute
from qlearn.course.notebooks.structure import EXPLORER, IGNORED
from qlearn.measure import results

ROOT = Path(__file__).parents[2]


def test_the_normal_form_holds_nothing_that_a_run_leaves_by_chance():
    view = new_output("display_data", {WIDGET_VIEW: {"model_id": "a1"}, "text/plain": "VBox()"})
    both = new_output("display_data", {WIDGET_VIEW: {}, EXPLORER: {}, "text/plain": "table"})
    bar = new_output("stream", name="stderr", text="\r 50%\r100%")
    streams = [new_output("stream", text="a\n"), new_output("stream", text="b\n")]
    result = new_output("execute_result", {"text/plain": "2"}, execution_count=9)
    cell = new_code_cell("1 + 1", execution_count=9, metadata={"execution": {}, "tags": ["t"]})
    cell.outputs = [view, both, bar, *streams, result]
    unrun = new_code_cell("")
    notebook = new_notebook(cells=[unrun, cell], metadata={"widgets": {"state": {}}})
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11.7"}

    fresh = normalise(notebook)

    assert set(fresh.metadata) == {"kernelspec", "language_info"}
    assert "version" not in fresh.metadata.language_info
    assert [c.execution_count for c in fresh.cells] == [None, 1]
    done = fresh.cells[1]
    assert done.metadata == {"tags": ["t"]}
    assert [o.output_type for o in done.outputs] == ["display_data", "stream", "execute_result"]
    assert set(done.outputs[0].data) == {EXPLORER, "text/plain"}
    assert done.outputs[1].text == "a\nb\n"
    assert done.outputs[2].execution_count == 1
    assert normalise(fresh) == fresh
    assert notebook.cells[1].execution_count == 9, "the argument is left as it was"
    nbformat.validate(fresh)


def test_lists_of_numbers_take_one_line_and_texts_stay_as_they_are():
    bundle = {"y": [[1, -2.5e-07], [None, True], []], "text": ["[\n1,\n2\n]", "a"], "none": {}}
    cell = new_code_cell("[\n1,\n2\n]", outputs=[new_output("display_data", {EXPLORER: bundle})])
    notebook = normalise(new_notebook(cells=[cell]))
    text = tool.laid_out(notebook)
    assert nbformat.reads(text, as_version=4) == notebook
    assert [
        line.strip() for line in text.splitlines() if "1,-2.5e-07" in line or "null,t" in line
    ] == [
        "[1,-2.5e-07],",
        "[null,true],",
    ]


def test_ids_follow_the_text_and_are_unique():
    twice = [new_markdown_cell("same"), new_markdown_cell("same"), new_markdown_cell("other")]
    ids = [cell.id for cell in normalise(new_notebook(cells=twice)).cells]
    more = normalise(new_notebook(cells=[new_markdown_cell("first"), *twice])).cells
    assert len(set(ids)) == 3
    assert [cell.id for cell in more[1:]] == ids


def test_a_run_gives_outputs_seconds_and_the_peak(tmp_path):
    cells = [
        new_code_cell("held = bytearray(200_000_000)"),
        new_code_cell("del held"),
        new_code_cell("6 * 7"),
    ]
    path = tmp_path / "01_a.ipynb"
    tool.write(new_notebook(cells=cells), path)
    before = path.read_bytes()

    done, seconds, peak = execute(path)

    assert done.cells[2].outputs[0].data["text/plain"] == "42"
    assert seconds > 0
    assert 200_000_000 < peak < 600_000_000
    assert path.read_bytes() == before


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone with two chapters, and its results files."""
    (tmp_path / "_config.yml").write_text("repository: {url: 'https://github.com/me/course'}")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.1.0"')
    (tmp_path / "notebooks").mkdir()
    for number, name in ((1, "title"), (2, "other")):
        cells = [new_markdown_cell(f"# {number}. {name.title()}"), new_code_cell("6 * 7")]
        path = tmp_path / "notebooks" / f"0{number}_{name}.ipynb"
        tool.write(new_notebook(cells=cells), path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    return types.SimpleNamespace(path=tmp_path / "notebooks" / "01_title.ipynb")


def test_the_command_executes_in_place_and_records_a_row_a_chapter(bench, clone, capsys):
    script = bench("chapters")
    assert script.main([]) == 0
    done = nbformat.read(clone.path, as_version=4)
    assert done.cells[3].outputs[0].data["text/plain"] == "42"
    assert [cell.execution_count for cell in done.cells if cell.cell_type == "code"] == [1, 2]
    row, other = results.load("chapters")["rows"]
    assert row["notebook"] == "01_title"
    assert row["title"] == "1. Title"
    assert row["seconds"] > 0
    assert 20_000_000 < row["memory_bytes"] < 500_000_000
    assert row["cores"] and row["cpu"] and row["date"]
    assert "01_title.ipynb: " in capsys.readouterr().out
    assert script.main([str(clone.path)]) == 0  # one chapter measured anew: one row is new
    again, same = results.load("chapters")["rows"]
    assert same == other
    assert again["date"] >= row["date"]


@pytest.mark.parametrize(
    ("seconds", "peak", "words"),
    [(91.0, 10**9, "took 91 s and 1.00 GB"), (9.0, 17 * 10**8, "took 9 s and 1.70 GB")],
)
def test_a_chapter_over_its_bounds_is_told_and_not_published(
    bench, clone, monkeypatch, capsys, seconds, peak, words
):
    def run(path):
        return nbformat.read(path, as_version=4), seconds, peak

    monkeypatch.setattr(tool, "execute", run)
    assert bench("chapters").main([str(clone.path)]) == 1
    assert words in capsys.readouterr().err
    assert results.find("chapters") is None


def test_write_changes_once_and_check_lists_what_is_left(clone, capsys):
    assert tool.main(["--write"]) == 1
    assert tool.main(["--write"]) == 0
    assert tool.main(["--check"]) == 1
    assert "its sections are" in capsys.readouterr().out


def test_outside_a_clone_the_command_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="not in a clone"):
        tool.main(["--check"])


@pytest.mark.parametrize(
    ("committed", "computed", "places"),
    [
        ({"a": 1.0}, {"a": 1.0005}, []),
        ({"a": 1.0}, {"a": 1.002}, ["$.a"]),
        ({"a": 1}, {"b": 1}, ["$.a", "$.b"]),
        ([1, 2], [1], ["$"]),
        ([[0.0]], [[1e-12]], []),
        (0.0, 1e-3, ["$"]),
        ("SQNR 21.50 dB", "SQNR 21.51 dB", []),
        ("SQNR 21.50 dB", "SQNR 22.50 dB", ["$"]),
        ("0.05 nats", "0.06 nats", []),
        ("0.05 nats", "0.07 nats", ["$"]),
        ("from 4 on, 30%", "from 4 on, 31%", []),
        ("from 4 on, 30%", "from 5 on, 30%", ["$"]),
        ({"a": 0.05}, {"a": 0.06}, []),
        ({"a": 0.5}, {"a": 0.6}, ["$.a"]),
        ({"a": 4}, {"a": 5}, ["$.a"]),
        ("SQNR 21.50 dB", "SNR 21.50 dB", ["$"]),
        ("−3.0 and 1,000", "−3.0 and 2,000", ["$"]),
        (True, 1, ["$"]),
        (None, 0, ["$"]),
        ("1", 1, ["$"]),
        ([], {}, ["$"]),
    ],
)
def test_differences_are_found_beyond_the_tolerance_alone(committed, computed, places):
    assert [line.split(":")[0] for line in differences(committed, computed)] == places


@pytest.mark.parametrize(
    ("committed", "computed", "places"),
    [
        ({"a": [1.0, "12 ms"]}, {"a": [250.0, "9 ms"]}, []),
        ({"a": [1.0, 2.0]}, {"a": [1.0]}, ["$.a"]),
        ("12 ms", "12 s", ["$"]),
        ({"a": 1.0}, {"a": None}, ["$.a"]),
    ],
)
def test_of_what_is_measured_all_but_the_numbers_is_compared(committed, computed, places):
    found = differences(committed, computed, math.inf)
    assert [line.split(":")[0] for line in found] == places


def test_each_band_has_its_reason_and_its_explorer():
    titles = {
        output["data"][EXPLORER]["title"]
        for path in tool.find_chapters(ROOT)
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
        if EXPLORER in output.get("data", {})
    }
    assert set(BANDS) <= titles
    assert all(tolerance > USUAL and len(why) > 20 for tolerance, why in BANDS.values())
    assert band("another") == USUAL


def test_nbval_reads_memory_and_explorers(pytester_folder):
    """The two tests that `plugin_chapters` adds pass on a good chapter and fail on a stale one."""
    good, stale = pytester_folder
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "."]
    done = subprocess.run(command, cwd=good, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
    done = subprocess.run(command, cwd=stale, capture_output=True, text=True, check=False)
    assert "::explorers" in done.stdout
    assert "committed 2, computed 1" in done.stdout
    assert "1 failed, 2 passed" in done.stdout


@pytest.fixture
def pytester_folder(tmp_path):
    code = (
        "from IPython.display import display\n"
        f"display({{'{EXPLORER}': {{'version': 1, 'pool': [], 'frames': [{{'y': 1}}]}}}}, raw=True)"
    )
    folders = []
    for name, y in (("good", 1), ("stale", 2)):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(ROOT / "conftest.py", folder)
        paths = f"{ROOT / 'tests' / 'helpers'} {ROOT / 'tests' / 'plugins'}"
        settings = f"[pytest]\nmarkers = tool\npythonpath = {paths}\n"
        (folder / "pytest.ini").write_text(settings)
        cell = new_code_cell(code, metadata={"tags": [IGNORED]}, execution_count=1)
        bundle = {"version": 1, "pool": [], "frames": [{"y": y}]}
        cell.outputs = [new_output("display_data", {EXPLORER: bundle})]
        tool.write(normalise(new_notebook(cells=[cell])), folder / "01_a.ipynb")
        folders.append(folder)
    return folders

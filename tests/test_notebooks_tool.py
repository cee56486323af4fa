"""The notebooks' machinery: normal form, generated cells, shape, execution, comparison."""

import shutil
import subprocess
import sys
import types
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from qlearn import notebooks
from qlearn.notebook_cells import (
    BADGES_TAG,
    BOOTSTRAP_TAG,
    Publication,
    badges,
    bootstrap_cell,
    generated,
    read_publication,
)
from qlearn.notebook_compare import differences
from qlearn.notebook_normal import WIDGET_VIEW, normalise
from qlearn.notebook_run import execute
from qlearn.notebook_structure import EXPLORER, IGNORED, check_structure

PUBLISHED = Publication("me/course", "main", "0.1.0")
SOLUTION = "````{admonition} Solution\n:class: dropdown\n\n```python\nx = 1\n```\n````"


def exercise(k):
    return [
        new_markdown_cell(f"### Exercise 1.{k}: name\n\nDo it."),
        new_code_cell(f'x = ...\n\ncheck("ch01.name{k}", x)', execution_count=1),
        new_markdown_cell(SOLUTION),
    ]


def chapter():
    """A chapter in shape."""
    explorer = new_output("display_data", {EXPLORER: {"version": 1}, "text/plain": "a table"})
    shown = new_code_cell("explorer", metadata={"tags": [IGNORED]}, execution_count=1)
    shown.outputs = [explorer]
    cells = [
        new_markdown_cell("# 1. Title"),
        new_markdown_cell("## What you will be able to do\n\n**Time:** about 60 minutes"),
        new_markdown_cell("## Predict\n\nHow many?"),
        new_markdown_cell("## By hand"),
        new_markdown_cell("## Try it"),
        shown,
        new_markdown_cell("## Exercises"),
        *(cell for k in (1, 2, 3) for cell in exercise(k)),
        new_markdown_cell("## What to remember\n\nIt."),
        new_markdown_cell("## Sources\n\nThis."),
    ]
    notebook = generated(new_notebook(cells=cells), "01_title.ipynb", PUBLISHED)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count = 1
    return normalise(notebook)


def problems(notebook, folder, *, again=True):
    path = folder / "01_title.ipynb"
    notebooks.write(normalise(notebook) if again else notebook, path)
    return check_structure(path, PUBLISHED)


def test_a_chapter_in_shape_has_no_problem(tmp_path):
    assert problems(chapter(), tmp_path) == []


def source(index, text):
    def change(notebook):
        notebook.cells[index].source = text

    return change


def drop(index):
    return lambda notebook: notebook.cells.pop(index)


def output(made, tag=None):
    def change(notebook):
        notebook.cells[7].outputs.append(made)
        notebook.cells[7].metadata.tags = [tag] if tag else [IGNORED]

    return change


def place(text):
    for index, cell in enumerate(chapter().cells):
        if text in cell.source:
            return index
    raise AssertionError(text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (source(0, "# Title"), "does not begin with '# 1. '"),
        (source(0, "# 2. Title"), "does not begin with '# 1. '"),
        (source(0, "# 1. Title\n\n# Another"), "more than one heading"),
        (source(3, "## What you will be able to do"), "no line '**Time:**"),
        (source(4, "## Predict\n\nNothing."), "asks no question"),
        (source(4, "Why?"), "its sections are"),
        (source(5, "## Sources"), "its sections are"),
        (drop(7), "shows no explorer"),
        (source(place("ch01.name2"), "x = 1"), "exercise 1.2 is not followed by a code cell"),
        (source(place("ch01.name2"), 'check("ch02.a", 1)'), "1.2 is not followed by a code cell"),
        (source(place("ch01.name2"), 'check("ch01.a", 1)\n\nprint(1)'), "1.2 is not followed"),
        (drop(place("ch01.name2") + 1), "exercise 1.2 has no folded solution"),
        (source(place("Exercise 1.3"), "### Exercise 1.4: x"), "numbered ['1.1', '1.2', '1.4']"),
        (source(place("Exercise 1.3"), "words"), "there must be 3 or more"),
        (output(new_output("error", ename="KeyError")), "shows an error: KeyError"),
        (output(new_output("stream", name="stderr", text="Warning")), "prints to stderr"),
        (output(new_output("stream", text="/home/someone/x")), "a path of this machine"),
        (output(new_output("stream", text="<a at 0x7f00aa11bb22>")), "an address of this machine"),
        (output(new_output("display_data", {"application/vnd.plotly.v1+json": {}})), "bare plotly"),
        (output(new_output("stream", text="fine"), "other"), f"without the tag {IGNORED}"),
    ],
)
def test_each_fault_is_told(change, words, tmp_path):
    notebook = chapter()
    change(notebook)
    found = problems(notebook, tmp_path)
    assert any(words in line for line in found), found


def test_unexecuted_hand_edited_and_large_chapters_are_told(tmp_path):
    notebook = chapter()
    notebook.cells[7].execution_count = None
    assert any("not executed in order" in line for line in problems(notebook, tmp_path))

    notebook = chapter()
    notebook.cells[2].source += "\nprint('mine')"
    assert any("normal form" in line for line in problems(notebook, tmp_path))

    notebook = chapter()
    notebook.cells[7].outputs[0].data["text/plain"] = "x" * 1_000_001
    assert any("1 MB at the most" in line for line in problems(notebook, tmp_path))

    notebook = chapter()
    notebook.cells[7].metadata["execution"] = {"iopub.status.busy": "now"}
    assert any("normal form" in line for line in problems(notebook, tmp_path, again=False))


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


def test_ids_follow_the_text_and_are_unique():
    twice = [new_markdown_cell("same"), new_markdown_cell("same"), new_markdown_cell("other")]
    ids = [cell.id for cell in normalise(new_notebook(cells=twice)).cells]
    more = normalise(new_notebook(cells=[new_markdown_cell("first"), *twice])).cells
    assert len(set(ids)) == 3
    assert [cell.id for cell in more[1:]] == ids


def test_generated_cells_are_replaced_not_repeated():
    once = chapter()
    once.cells[1].source = "old"
    again = generated(once, "01_title.ipynb", PUBLISHED)
    tags = [tag for cell in again.cells for tag in cell.metadata.get("tags", [])]
    assert tags.count(BADGES_TAG) == tags.count(BOOTSTRAP_TAG) == 1
    assert again.cells[1].source == badges("01_title.ipynb", PUBLISHED)


def test_badges_point_at_the_published_file():
    text = badges("01_title.ipynb", PUBLISHED)
    assert "github/me/course/blob/main/notebooks/01_title.ipynb" in text
    assert "/gh/me/course/main?urlpath=lab%2Ftree%2Fnotebooks%2F01_title.ipynb" in text
    assert "![" not in text, "an image would be a request to another host"


@pytest.mark.parametrize(
    "url", ["https://github.com/me/course", "https://github.com/me/course.git"]
)
def test_the_repository_is_read_from_the_configuration(tmp_path, url):
    (tmp_path / "_config.yml").write_text(f"repository: {{url: {url}, branch: dev}}")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2"')
    assert read_publication(tmp_path) == Publication("me/course", "dev", "1.2")


def test_another_host_is_refused(tmp_path):
    (tmp_path / "_config.yml").write_text("repository: {url: 'https://example.org/x'}")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2"')
    with pytest.raises(
        ValueError, match=r"repository\.url=.* write https://github\.com/OWNER/NAME"
    ):
        read_publication(tmp_path)


@pytest.fixture
def colab(monkeypatch):
    """A session that looks like Colab's, with qlearn absent and pip recorded, not run."""
    session = types.SimpleNamespace(widgets=0, pip=[], keep="", after=lambda: None)
    output_module = types.ModuleType("google.colab.output")

    def enable():
        session.widgets += 1

    output_module.enable_custom_widget_manager = enable
    module = types.ModuleType("google.colab")
    module.output = output_module
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", module)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    def pip(command, check):
        assert check
        session.pip = command
        session.keep = Path(command[command.index("-c") + 1]).read_text()
        session.after()

    monkeypatch.setattr(subprocess, "run", pip)
    return session


def run_bootstrap():
    exec(compile(bootstrap_cell(PUBLISHED), "bootstrap", "exec"), {})


def test_on_colab_it_installs_the_tag_and_keeps_torch_and_numpy(colab):
    run_bootstrap()
    assert colab.pip[-1] == "qlearn[course] @ git+https://github.com/me/course@v0.1.0"
    assert colab.keep == f"torch=={metadata.version('torch')}\nnumpy=={metadata.version('numpy')}\n"
    assert colab.widgets == 1


def test_on_colab_a_loaded_package_that_changed_asks_for_a_restart(colab, monkeypatch):
    real = metadata.PathDistribution.version.fget

    def newer(one):
        return "99" if one.name == "pytest" else real(one)

    after = property(newer)
    colab.after = lambda: monkeypatch.setattr(metadata.PathDistribution, "version", after)
    with pytest.raises(SystemExit, match=r"old pytest: choose Runtime > Restart session"):
        run_bootstrap()


def test_where_the_package_is_there_it_does_nothing(colab, monkeypatch):
    spec = types.SimpleNamespace(origin="qlearn/__init__.py")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: spec)
    run_bootstrap()
    assert colab.pip == []
    assert colab.widgets == 1
    monkeypatch.delitem(sys.modules, "google.colab")
    run_bootstrap()
    assert colab.pip == []


def test_elsewhere_without_the_package_it_says_what_to_do(colab, monkeypatch):
    monkeypatch.delitem(sys.modules, "google.colab")
    with pytest.raises(ModuleNotFoundError, match="make lab"):
        run_bootstrap()
    assert colab.pip == []


def test_a_run_gives_outputs_seconds_and_the_peak(tmp_path):
    cells = [
        new_code_cell("held = bytearray(200_000_000)"),
        new_code_cell("del held"),
        new_code_cell("6 * 7"),
    ]
    path = tmp_path / "01_a.ipynb"
    notebooks.write(new_notebook(cells=cells), path)
    before = path.read_bytes()

    done, seconds, peak = execute(path)

    assert done.cells[2].outputs[0].data["text/plain"] == "42"
    assert 0 < seconds < 60
    assert 200_000_000 < peak < 600_000_000
    assert path.read_bytes() == before


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone with one chapter, and the results file redirected into it."""
    (tmp_path / "_config.yml").write_text("repository: {url: 'https://github.com/me/course'}")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.1.0"')
    (tmp_path / "notebooks").mkdir()
    cells = [new_markdown_cell("# 1. Title"), new_code_cell("6 * 7")]
    notebooks.write(new_notebook(cells=cells), tmp_path / "notebooks" / "01_title.ipynb")
    monkeypatch.chdir(tmp_path)
    saved = {}
    monkeypatch.setattr(notebooks, "save", lambda name, rows, command: saved.update({name: rows}))
    return types.SimpleNamespace(path=tmp_path / "notebooks" / "01_title.ipynb", saved=saved)


def test_the_command_executes_in_place_and_measures(clone, capsys):
    assert notebooks.main(["--execute"]) == 0
    done = nbformat.read(clone.path, as_version=4)
    assert done.cells[3].outputs[0].data["text/plain"] == "42"
    assert [cell.execution_count for cell in done.cells if cell.cell_type == "code"] == [1, 2]
    (row,) = clone.saved["chapters"]
    assert row["notebook"] == "01_title"
    assert row["title"] == "1. Title"
    assert row["seconds"] > 0
    assert 20_000_000 < row["memory_bytes"] < 500_000_000
    assert "01_title.ipynb: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "peak", "words"),
    [(91.0, 10**9, "took 91 s and 1.00 GB"), (9.0, 17 * 10**8, "took 9 s and 1.70 GB")],
)
def test_a_chapter_over_its_bounds_is_told_and_not_published(
    clone, monkeypatch, capsys, seconds, peak, words
):
    def run(path):
        return nbformat.read(path, as_version=4), seconds, peak

    monkeypatch.setattr(notebooks, "execute", run)
    assert notebooks.main(["--execute"]) == 1
    assert words in capsys.readouterr().err
    assert clone.saved == {}


def test_write_changes_once_and_check_lists_what_is_left(clone, capsys):
    assert notebooks.main(["--write"]) == 1
    assert notebooks.main(["--write"]) == 0
    assert notebooks.main(["--check"]) == 1
    assert "its sections are" in capsys.readouterr().out


def test_outside_a_clone_the_command_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="not in a clone"):
        notebooks.main(["--check"])


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


def test_nbval_reads_budget_and_explorers(pytester_folder):
    """The two tests that `conftest.py` adds pass on a good chapter and fail on a stale one."""
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
        shutil.copy(Path(__file__).parents[1] / "conftest.py", folder)
        (folder / "pytest.ini").write_text("[pytest]\nmarkers = notebooks\n")
        cell = new_code_cell(code, metadata={"tags": [IGNORED]}, execution_count=1)
        bundle = {"version": 1, "pool": [], "frames": [{"y": y}]}
        cell.outputs = [new_output("display_data", {EXPLORER: bundle})]
        notebooks.write(normalise(new_notebook(cells=[cell])), folder / "01_a.ipynb")
        folders.append(folder)
    return folders

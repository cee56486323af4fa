"""The generated cells: the buttons, and the bootstrap in a session that looks like Colab."""

import subprocess
import sys
import types
from importlib import metadata
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from qlearn.course.notebooks.cells import (
    BADGES_TAG,
    BOOTSTRAP_TAG,
    Publication,
    badges,
    bootstrap_cell,
    generated,
    read_publication,
)
from qlearn.course.notebooks.normal import normalise

PUBLISHED = Publication("me/course", "main", "0.1.0")


def test_generated_cells_are_replaced_not_repeated():
    cells = [new_markdown_cell("# 1. Title"), new_code_cell("1 + 1")]
    once = generated(new_notebook(cells=cells), "01_title.ipynb", PUBLISHED)
    once.cells[1].source = "old"
    once.cells[2].execution_count = 5
    again = generated(once, "01_title.ipynb", PUBLISHED)
    tags = [tag for cell in again.cells for tag in cell.metadata.get("tags", [])]
    assert tags.count(BADGES_TAG) == tags.count(BOOTSTRAP_TAG) == 1
    assert again.cells[2].execution_count == 5
    assert len(again.cells) == 4
    assert again.cells[1].source == badges("01_title.ipynb", PUBLISHED)
    kept = normalise(again).cells[2].metadata
    assert kept["jupyter"]["source_hidden"], "JupyterLab would show 40 lines before the chapter"
    assert kept["cellView"] == "form"  # as Colab says it


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
    # Some packages bring a second importlib.metadata, which finds every package once more.
    second = sys.modules.get("importlib_metadata")
    kinds = [metadata.PathDistribution, *([second.PathDistribution] if second else [])]
    real = {kind: kind.version.fget for kind in kinds}

    def newer(one):
        return "99" if one.name == "pytest" else real[type(one)](one)

    def install():
        for kind in kinds:
            monkeypatch.setattr(kind, "version", property(newer))

    colab.after = install
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

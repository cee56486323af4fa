"""`python -m qlearn new chapter`: what it writes, where it names it, and what it refuses."""

import json
import re
import shutil
from pathlib import Path

import pytest
from tools.environment import Environment
from tools.errors import TaskError
from tools.new_chapter import FILES, cells, new, write

from qlearn.course.notebooks.structure import SECTIONS

ROOT = Path(__file__).parents[2]
NAMED_IN = ("book/_toc.yml", "book/syllabus.md", "book/references.bib")
OBJECTIVES = "src/qlearn/course/objectives.py"


@pytest.fixture
def clone(tmp_path):
    """A clone with the files in which a chapter is named, and the folders of its own."""
    for name in (*NAMED_IN, OBJECTIVES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for place in (*FILES.values(), "notebooks/x"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    return tmp_path


def test_cells_are_parted_by_their_kinds():
    made = cells("# T\n\n%% code\n\n```python\n1\n```\n\n%% solution\n\n```python\nx = 1\n```\n")
    assert [cell["cell_type"] for cell in made] == ["markdown", "code", "markdown"]
    assert made[1]["source"] == "1"
    assert made[2]["source"].startswith("````{admonition} Solution\n:class: dropdown")
    assert made[2]["source"].endswith("```python\nx = 1\n```\n````")


def test_every_file_of_a_chapter_is_written_and_every_list_names_it(clone):
    path = write(clone, "77_ternary_weights", "2402.99999")
    sources = [cell["source"] for cell in json.loads(path.read_text("utf-8"))["cells"]]
    assert sources[0].startswith("# 77. Ternary weights")
    found = re.findall(r"(?m)^## (.+)$", "\n".join(sources))
    assert [title for title in found if title in SECTIONS] == SECTIONS
    for place in FILES.values():
        text = (clone / place.format(module="ch77")).read_text(encoding="utf-8")
        compile(text, place, "exec")
        assert "{" not in text.replace("{}", "") or "{number}" not in text
    objectives = (clone / OBJECTIVES).read_text(encoding="utf-8")
    compile(objectives, OBJECTIVES, "exec")
    assert '("ch77.codes", "ch77.layer", "ch77.bits")' in objectives
    contents = (clone / "book/_toc.yml").read_text(encoding="utf-8")
    before = "      - file: notebooks/14_the_claims\n"
    assert f"{before}      - file: notebooks/77_ternary_weights\n" in contents
    syllabus = (clone / "book/syllabus.md").read_text(encoding="utf-8")
    assert "### 77. [Ternary weights](../notebooks/77_ternary_weights.ipynb)" in syllabus
    assert "2402.99999" in (clone / "book/references.bib").read_text(encoding="utf-8")


def test_a_source_that_is_known_is_not_named_twice(clone):
    before = (clone / "book/references.bib").read_text(encoding="utf-8")
    write(clone, "77_words", "2210.17323")
    assert (clone / "book/references.bib").read_text(encoding="utf-8") == before


@pytest.mark.parametrize("name", ["ternary", "7_words", "77-words", "77_Words", "77_"])
def test_a_name_of_another_form_is_refused(clone, name):
    with pytest.raises(TaskError, match=re.escape(f"{name!r} is not a chapter's name")):
        write(clone, name, "2210.17323")
    assert not any((clone / "notebooks").iterdir())


def test_a_number_that_is_taken_is_refused(clone):
    write(clone, "77_words", "2210.17323")
    with pytest.raises(TaskError, match=r"chapter 77 is there: 77_words\.ipynb"):
        write(clone, "77_others", "2210.17323")


@pytest.mark.parametrize("words", [[], ["chapter"], ["figure", "77_words"], ["chapter", "a", "b"]])
def test_what_is_new_must_be_said(clone, words):
    with pytest.raises(TaskError, match="new chapter NN_words"):
        new(Environment(clone / ".venv"), words)

"""Each chapter's shape, the order and run times of all; nbval executes them, see conftest.py."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml

from qlearn.course.notebooks.structure import MAX_MEMORY, MAX_SECONDS, headings
from qlearn.course.notebooks.tool import check_structure, find_chapters, read_publication
from qlearn.measure import results

ROOT = Path(__file__).parents[2]
CHAPTERS = find_chapters(ROOT)


def test_chapters_have_numbers_of_their_own():
    numbers = [int(path.name[:2]) for path in CHAPTERS]
    assert numbers[:4] == [1, 2, 3, 4]
    assert len(set(numbers)) == len(numbers)


def test_the_site_has_each_chapter_in_order():
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))
    files = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    shown = [name for name in files if name.startswith("notebooks/")]
    assert shown == [f"notebooks/{path.stem}" for path in CHAPTERS]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_the_shape_of_all(path):
    assert check_structure(path, read_publication(ROOT)) == []


def syllabus():
    """Each entry of the syllabus by its chapter's number: heading and text."""
    text = (ROOT / "book" / "syllabus.md").read_text(encoding="utf-8")
    entries = re.split(r"(?m)^### (?=\d+\. )", text)[1:]
    return {int(entry.split(".")[0]): entry for entry in entries}


def test_the_syllabus_names_what_is_here_and_what_is_to_come():
    entries = syllabus()
    assert list(entries) == list(range(1, len(entries) + 1))
    here = {int(path.name[:2]): path for path in CHAPTERS}
    assert [number for number in here if number not in entries] == []
    for number, entry in entries.items():
        heading = entry.splitlines()[0]
        if number not in here:
            assert heading.endswith(" (to come)"), heading
            continue
        notebook = nbformat.read(here[number], as_version=4)
        title = headings(notebook, 1)[0].removeprefix(f"{number}. ")
        assert heading == f"{number}. [{title}](../notebooks/{here[number].name})"
        minutes = re.search(r"\*\*Time\*\*: (\d+) minutes", entry)[1]
        assert any(f"**Time:** about {minutes} minutes" in cell.source for cell in notebook.cells)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_papers_that_a_chapter_cites_are_in_the_bibliography(path):
    known = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    notebook = nbformat.read(path, as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells)
    cited = set(re.findall(r"arXiv (?:preprint )?(\d{4}\.\d{5})", text))
    assert cited
    assert [number for number in sorted(cited) if number not in known] == []


def test_published_run_times_are_those_of_these_chapters():
    rows = {row["notebook"]: row for row in results.load("chapters")["rows"]}
    assert list(rows) == [path.stem for path in CHAPTERS]
    for path in CHAPTERS:
        row = rows[path.stem]
        assert row["title"] == headings(nbformat.read(path, as_version=4), 1)[0]
        assert 0 < row["seconds"] <= MAX_SECONDS
        assert 50_000_000 < row["memory_bytes"] <= MAX_MEMORY

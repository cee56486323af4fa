"""Each chapter's shape, the order and run times of all; nbval executes them, see conftest.py."""

from pathlib import Path

import nbformat
import pytest
import yaml

from qlearn import results
from qlearn.notebook_structure import MAX_MEMORY, MAX_SECONDS, headings
from qlearn.notebooks import check_structure, find_chapters, read_publication

ROOT = Path(__file__).parents[1]
CHAPTERS = find_chapters(ROOT)


def test_chapters_are_numbered_from_one_on():
    assert CHAPTERS
    assert [int(path.name[:2]) for path in CHAPTERS] == list(range(1, len(CHAPTERS) + 1))


def test_the_site_has_each_chapter_in_order():
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))
    files = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    shown = [name for name in files if name.startswith("notebooks/")]
    assert shown == [f"notebooks/{path.stem}" for path in CHAPTERS]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_the_shape_of_all(path):
    assert check_structure(path, read_publication(ROOT)) == []


def test_published_run_times_are_those_of_these_chapters():
    rows = {row["notebook"]: row for row in results.load("chapters")["rows"]}
    assert list(rows) == [path.stem for path in CHAPTERS]
    for path in CHAPTERS:
        row = rows[path.stem]
        assert row["title"] == headings(nbformat.read(path, as_version=4), 1)[0]
        assert 0 < row["seconds"] <= MAX_SECONDS
        assert 50_000_000 < row["memory_bytes"] <= MAX_MEMORY

"""Releases: in step with their sources, without solutions; a course's seed is its own."""

import re
from pathlib import Path

import nbformat
import pytest

from qlearn.assignments import in_assignment
from qlearn.classroom.course import CourseError, make_course, make_releases

ROOT = Path(__file__).parents[2]
RELEASE = ROOT / "notebooks" / "assignments" / "release"


@pytest.mark.slow
def test_the_committed_releases_are_those_of_the_sources(tmp_path):
    made = {path.name: path for path in make_releases(tmp_path)}
    committed = {path.name: path for path in RELEASE.glob("a*/a*.ipynb")}
    assert sorted(made) == sorted(committed)
    for name, path in made.items():
        assert path.read_text(encoding="utf-8") == committed[name].read_text(encoding="utf-8"), name


def test_the_committed_releases_hold_no_solution():
    releases = list(RELEASE.glob("a*/a*.ipynb"))
    assert releases
    for path in releases:
        source = ROOT / "notebooks" / "assignments" / "source" / path.parent.name / path.name
        text = path.read_text(encoding="utf-8")
        assert "SOLUTION" not in text
        notebook = nbformat.reads(text, as_version=4)
        assert not any(cell.get("outputs") for cell in notebook.cells)
        given = "\n".join(cell.source for cell in notebook.cells)
        pattern = re.compile(r"### BEGIN SOLUTION(.*?)### END SOLUTION", re.DOTALL)
        cells = nbformat.read(source, as_version=4).cells
        whole = "\n".join(cell.source for cell in cells)
        shown = pattern.sub("", whole)  # code that is given, such as the one with the bug
        solutions = pattern.findall(whole)
        solved = [cell for cell in cells if pattern.search(cell.source)]
        assert len(solved) == len(in_assignment(path.stem[:2]))
        secret = {line.strip() for one in solutions for line in one.splitlines()}
        secret = {line for line in secret if len(line) > 15 and line not in shown}
        assert len(secret) >= 10
        assert not [line for line in secret if line in given], path.name


@pytest.mark.parametrize("path", sorted(RELEASE.glob("a*/a*.ipynb")), ids=lambda p: p.parent.name)
def test_a_release_says_where_to_write_and_what_to_hand_in(path):
    cells = nbformat.read(path, as_version=4).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert "where `# YOUR CODE HERE` stands" in prose
    handed_in = prose.partition("**To hand in**")[2].partition("\n\n")[0]
    assert f"`{path.name}`" in handed_in
    assert ("`entry.bin`" in handed_in) == (path.stem == "a6_capstone")
    blanks = [c.source for c in cells if c.metadata.get("nbgrader", {}).get("solution")]
    assert len(blanks) == len(in_assignment(path.stem[:2]))
    for source in blanks:
        assert "# YOUR CODE HERE" in source
        assert source.splitlines()[-1].strip() == "pass", "an Ellipsis would be shown as a result"


@pytest.mark.slow
def test_a_course_keeps_its_seed_and_a_variant_has_its_own(tmp_path):
    course = make_course(tmp_path / "one", only=["a1"])
    seed = course.seed
    assert seed > 0
    assert make_course(tmp_path / "one", only=["a1"]).seed == seed
    assert make_course(tmp_path / "one", seed=5, only=["a1"]).seed == 5
    given = "".join(p.read_text() for p in (tmp_path / "one" / "release").rglob("*.ipynb"))
    assert str(seed) not in given
    with pytest.raises(CourseError, match="visible cases"):
        make_course(tmp_path / "two", seed=0)

"""A class through nbgrader, for real: intake, sandbox, gradebook, feedback, lists, dashboard."""

import csv
import io
import json
import re
import shutil
import zipfile
from pathlib import Path

import nbformat
import pytest
from classroom_room import needs_bubblewrap

from qlearn.assignments import in_assignment
from qlearn.classroom.course import Course, CourseError
from qlearn.classroom.intake.downloads import collect
from qlearn.classroom.marks.dashboard import write_dashboard
from qlearn.classroom.marks.gradebook import canvas_rows, compare, moodle_rows

ROOT = Path(__file__).parents[2]
SIX = (
    *("endless loop in an answer", "os._exit in a cell", "not JSON"),
    *("redefined checker", "scripts in feedback", "deleted cells"),
)


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Twelve submissions, six of them hostile, graded once."""
    import sys

    sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))
    try:
        import classroom
    finally:
        sys.path.pop(0)
    folder = tmp_path_factory.mktemp("class")
    return folder / "course", classroom.grade_class(folder, 6, 6, attacks=SIX)


@needs_bubblewrap
@pytest.mark.slow
def test_every_score_of_a_class_is_the_one_that_is_due(graded):
    _, row = graded
    assert row["wrong"] == []
    assert (row["submissions"], row["hostile"]) == (12, 6)


@needs_bubblewrap
@pytest.mark.slow
def test_what_was_handed_in_is_kept_and_feedback_explains(graded):
    folder, _ = graded
    name = Course(folder).named("a1")
    broken = folder / "received" / "hostile 002" / name / f"{name}.ipynb"
    assert broken.read_bytes().startswith(b"\x00\xff")
    page = (folder / "feedback" / "hostile 002" / name / f"{name}.html").read_text()
    assert "it is not UTF-8 text" in page
    looped = (folder / "feedback" / "hostile 000" / name / f"{name}.html").read_text()
    assert "stopped: it takes longer than" in looped
    assert "points on the cases that count" in looped
    titles = [question.title for question in in_assignment("a1")]
    for title in titles:
        assert f">{title}</a> (Score: " in looped
    assert "Test cell" not in looped
    assert "_bootstrap" not in looped  # 40 lines that are no student's
    assert "pre-wrap" in looped
    dashboard = (folder / "dashboard.html").read_text(encoding="utf-8")
    assert "The commonest diagnoses" in dashboard
    assert "hostile 002" in dashboard
    # Nothing runs and nothing is loaded; what a submission wrote stands there as text.
    assert "&lt;img src=x" in dashboard
    assert not re.search(r"<(script|img|link|iframe|object|a)\b|<[^>]*\b(src|on\w+)\s*=", dashboard)
    assert len(dashboard) < 100_000


@needs_bubblewrap
@pytest.mark.slow
def test_a_second_run_grades_only_what_is_new(graded, tmp_path):
    from qlearn.classroom.intake.classwork import Options, grade_class, take_in

    folder, _ = graded
    copy = tmp_path / "course"
    shutil.copytree(folder, copy, symlinks=True)
    course = Course(copy)
    name = course.named("a1")
    take_in(course, name)
    lines = []
    before = grade_class(course, name, Options(), lines.append)
    assert lines == []
    new = copy / "submitted" / "hostile 002" / name
    (new / f"{name}.ipynb").write_text("{}")
    take_in(course, name)
    records = grade_class(course, name, Options(processes=1), lines.append)
    assert [line.split(":")[0] for line in lines] == []  # still no answer: the same sound notebook
    assert records == before
    assert len(list((copy / "received" / "hostile 002").iterdir())) == 2


def test_a_folder_that_is_no_course_says_what_to_do(tmp_path):
    with pytest.raises(CourseError, match="classroom course"):
        Course(tmp_path).seed  # noqa: B018
    with pytest.raises(CourseError, match="there are none"):
        Course(tmp_path).named("a1")


RECORDS = {
    "4711": {"points": 12.5, "most": 26, "notes": [], "questions": {}},
    "=1+1": {
        "points": 0.0,
        "most": 26,
        "notes": ["Nothing was handed in."],
        "questions": {
            "a1.x": {
                "points": 0,
                "most": 2,
                "diagnosis": "No.",
                "kind": "wrong",
                "cell": "a1_x_check",
            }
        },
    },
}
ROSTER = [{"id": "4711", "name": "Zoë", "email": "z@x.org", "section": "A"}, {"id": "=1+1"}]


def test_lists_of_grades_are_as_canvas_and_moodle_read_them():
    ROSTER_AND_ABSENT = [*ROSTER, {"id": "absent"}]
    canvas = canvas_rows("a1", ROSTER_AND_ABSENT, RECORDS)
    assert canvas[0] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "a1"]
    assert canvas[1] == ["Points Possible", "", "", "", "", "26"]
    assert canvas[2] == ["Zoë", "4711", "", "", "A", "12.5"]  # a number is no login
    assert canvas[3][0] == "'=1+1"  # no spreadsheet computes it
    assert len(canvas) == 4  # an empty cell would take a grade away that was set by hand
    moodle = moodle_rows(ROSTER_AND_ABSENT, RECORDS, "2026-11-25 11:00")
    sheet = [dict(zip(moodle[0], row, strict=True)) for row in moodle[1:]]
    # An upload of Moodle's worksheet finds these three columns by their names.
    assert [one["Identifier"] for one in sheet] == ["Participant 4711", "", ""]
    assert [one["Grade"] for one in sheet] == ["12.5", "0", ""]
    assert [one["Last modified (grade)"] for one in sheet] == ["2026-11-25 11:00"] * 2 + [""]
    assert sheet[0]["Email address"] == "z@x.org"
    assert sheet[1]["Feedback comments"] == "Nothing was handed in. a1.x: No."
    text = io.StringIO()
    csv.writer(text).writerows(canvas)
    assert list(csv.reader(io.StringIO(text.getvalue()))) == canvas


def test_a_point_that_is_lost_is_an_error():
    compare(RECORDS, {"4711": {}, "=1+1": {"a1_x_check": 0.0}})
    with pytest.raises(CourseError, match="4711"):
        compare(RECORDS, {"=1+1": {"a1_x_check": 0.0}})
    with pytest.raises(CourseError, match="a1_x_check"):
        compare(RECORDS, {"4711": {}, "=1+1": {"a1_x_check": 2.0}})


@pytest.fixture
def bare(tmp_path):
    (tmp_path / "source" / "a1_words").mkdir(parents=True)
    return Course(tmp_path)


def test_downloads_are_sorted_by_what_the_lms_calls_them(bare, tmp_path):
    path = tmp_path / "submissions.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("doejane_4711_99_a1_words-2.ipynb", "{}")
        archive.writestr("doejohn_LATE_4712_98_a1_words.ipynb", "{}")
        archive.writestr("李雷_815_assignsubmission_file_/a1_words.ipynb", "{}")
        archive.writestr("李雷_815_assignsubmission_file_/model.bin", "x")
        archive.writestr("Ana Müller_816_assignsubmission_file_a1_words.ipynb", "{}")
        archive.writestr("Li Wei_817_assignsubmission_file/a1_words.ipynb", "{}")
        archive.writestr("../../../evil_1_2_../../x.ipynb", "{}")
        archive.writestr("doejane_4713_99_.bashrc", "{}")
        archive.writestr("read me.txt", "")
        link = zipfile.ZipInfo("linker_4714_99_a1_words.ipynb")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    students, left = collect(bare, "a1", path)
    assert "read me.txt" in left
    assert {"4711", "4712", "815"} <= set(students)
    assert "4714" not in students
    folder = bare.root / "submitted"
    written = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert {
        *("4711/a1_words/a1_words.ipynb", "4712/a1_words/a1_words.ipynb"),
        *("815/a1_words/a1_words.ipynb", "815/a1_words/model.bin"),
        *("816/a1_words/a1_words.ipynb", "817/a1_words/a1_words.ipynb"),
    } <= written
    outside = [p for p in tmp_path.parent.rglob("x.ipynb") if not p.is_relative_to(folder)]
    assert outside == []
    with pytest.raises(CourseError, match="neither a folder nor a sound zip"):
        collect(bare, "a1", bare.root / "source" / "nothing.zip")


def test_a_zip_bomb_is_not_unpacked(bare, tmp_path, monkeypatch):
    import qlearn.classroom.intake.downloads as downloads

    monkeypatch.setattr(downloads, "MOST_BYTES", 1_000_000)  # for a quick test
    path = tmp_path / "submissions.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("doejane_4711_99_a1_words.ipynb", "{}")
        archive.writestr("bomb_4712_99_a1_words.ipynb", bytes(5_000_000))
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as nested:
            nested.writestr("a1_words.ipynb", bytes(5_000_000))
        archive.writestr("nested_4713_99_work.zip", inner.getvalue())
    assert path.stat().st_size < 30_000
    students, left = collect(bare, "a1", path)
    assert students == ["4711", "4713"]
    assert left == ["bomb_4712_99_a1_words.ipynb"]
    written = [p for p in (bare.root / "submitted").rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in written) < 30_000
    assert [p.name for p in written if "4713" in p.parts] == ["work.zip"]


def test_texts_of_a_submission_are_shown_as_typed():
    from nbconvert.filters import markdown2html

    from qlearn.classroom.marks.preprocessor import as_typed, fenced

    for text in (
        "<script>x()</script>",
        "[x](javascript:y)",
        "~~~\n<b>x</b>\n~~~~~",
        "a\r~~~\r<i>",
    ):
        page = markdown2html(fenced(text))
        assert set(re.findall(r"<([a-z]+)", page)) <= {"div", "pre", "span", "code"}, page
    raw = nbformat.v4.new_raw_cell("<script>x()</script>")
    assert as_typed(raw).cell_type == "markdown"
    assert as_typed(raw).id == raw.id


def test_the_dashboard_shows_diagnoses_as_text(bare):
    text = '<a href="https://evil.example">x</a><script>run()</script>'
    mark = {"points": 0, "most": 4, "kind": "wrong", "diagnosis": text}
    record = {"points": 0, "most": 26, "notes": [text], "questions": {"a1.pack": mark}}
    graded = bare.root / "graded" / "a1_words"
    graded.mkdir(parents=True)
    (graded / "<b>Zoë.json").write_text(json.dumps(record), encoding="utf-8")
    page = write_dashboard(bare, ["a1_words"]).read_text(encoding="utf-8")
    assert page.count("&lt;script&gt;run()") == 2  # as a diagnosis, and as a note
    assert "&lt;b&gt;Zoë" in page
    assert "<script" not in page
    assert "<a " not in page


def test_the_committed_demo_met_every_score():
    from qlearn.measure.results import load

    (row,) = load("classroom")["rows"]
    assert (row["submissions"], row["hostile"], row["wrong_scores"]) == (200, 40, 0)
    assert row["per_hour"] == pytest.approx(3600 * 200 / row["seconds"], rel=0.01)
    assert len(load("classroom")["attacks"]) == 40
    assert json.dumps(row)

"""nbgrader's exchange: a class there and back, and what may not pass."""

import csv
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from classroom_room import needs_bubblewrap
from synthetic_class import due, right_work

from qlearn.classroom.__main__ import main
from qlearn.classroom.course import Course, CourseError, make_course
from qlearn.classroom.intake.exchange import collect_exchange, inbound

pwd = pytest.importorskip("pwd", reason="nbgrader's exchange does not run on Windows")

ROOT = Path(__file__).parents[2]
NAME = "a1_int4_and_packing"
SEED = 20_261
TIME = "2026-11-25 10:00:{:02d}.000000 UTC"
ME = pwd.getpwuid(os.getuid()).pw_name


@dataclass(frozen=True)
class Exchanged:
    """A class that went through the exchange; points are by student and question."""

    folder: Path
    points: dict[str, dict[str, float]]

    @property
    def course(self) -> Course:
        """The teacher's folder."""
        return Course(self.folder / "course")

    @property
    def exchange(self) -> Path:
        """The exchange's root."""
        return self.folder / "exchange"


@pytest.fixture(scope="module")
def exchanged(tmp_path_factory):
    """Two students and their class, through nbgrader's own commands."""
    folder = tmp_path_factory.mktemp("exchange")
    exchange = folder / "exchange"
    exchange.mkdir(mode=0o777)
    course = make_course(folder / "course", seed=SEED, only=["a1"])
    root = f"--Exchange.root={exchange}"
    course.nbgrader("release_assignment", NAME, root)
    source = ROOT / "notebooks" / "assignments" / "source" / NAME / f"{NAME}.ipynb"
    points = {}
    for student, wrong in (("ada", None), ("ben", "def pack_int4(codes):\n    return codes\n")):
        home = folder / student
        home.mkdir()
        as_student(home, "fetch_assignment", root)
        work = right_work(home / NAME / f"{NAME}.ipynb", source)
        if wrong:
            work.answer("pack", wrong)
        points[student] = due(work, SEED)
        work.write(home / NAME)
        as_student(home, "submit", root)
    course.nbgrader("collect", NAME, root)
    assert main(["grade", str(course.root), "a1", "--processes", "1"]) == 0
    course.nbgrader("release_feedback", NAME, root)
    for student in points:
        as_student(folder / student, "fetch_feedback", root)
    return Exchanged(folder, points)


def as_student(home, *arguments):
    """Run an nbgrader command in a student's home, under their name."""
    programs = str(Path(sys.executable).parent)
    command = [sys.executable, "-m", "nbgrader", arguments[0], NAME, *arguments[1:]]
    subprocess.run(
        [*command, "--course=qlearn", f"--student={home.name}"],
        cwd=home,
        env={
            **os.environ,
            "HOME": str(home),
            "JUPYTER_DATA_DIR": str(home / ".data"),
            "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)]),
        },
        check=True,
        capture_output=True,
    )


@needs_bubblewrap
@pytest.mark.slow
def test_points_and_feedback_come_back_through_the_exchange(exchanged):
    folder, points = exchanged.folder, exchanged.points
    path = exchanged.course.root / "grades" / f"{NAME}_canvas.csv"
    with path.open(encoding="utf-8") as file:
        listed = {row[3]: float(row[5]) for row in list(csv.reader(file))[2:]}
    assert listed == {student: sum(marks.values()) for student, marks in points.items()}
    assert listed["ben"] < listed["ada"]
    for student in points:
        (page,) = (folder / student / NAME / "feedback").rglob(f"{NAME}.html")
        assert "points on the cases that count" in page.read_text(encoding="utf-8")


@needs_bubblewrap
@pytest.mark.slow
def test_what_was_collected_stays_and_what_is_newer_replaces_it(exchanged):
    course, exchange = exchanged.course, exchanged.exchange
    students, left = collect_exchange(course, "a1", exchange, any_owner=True)
    assert (students, left) == (["ada", "ben"], [])
    kept = course.root / "submitted" / "ada" / NAME
    assert json.loads((kept / f"{NAME}.ipynb").read_text())["cells"]  # ours, from before
    assert len(list((course.root / "received" / "ada").iterdir())) == 1
    assert re.fullmatch("[0-9a-f]{128}", (kept / "submission_secret.txt").read_text())
    newer = inbound(exchange) / f"ben+{NAME}+2099-01-01 00:00:00.000000 UTC+again"
    newer.mkdir()
    (newer / f"{NAME}.ipynb").write_text("{}")
    (newer / "submission_secret.txt").write_text("<script>")
    collect_exchange(course, "a1", exchange, any_owner=True)
    assert (course.root / "submitted" / "ben" / NAME / f"{NAME}.ipynb").read_text() == "{}"
    assert main(["grade", str(course.root), "a1", "--processes", "1", "--no-feedback"]) == 0
    assert not (course.root / "submitted" / "ben" / NAME / "submission_secret.txt").exists()


@needs_bubblewrap
@pytest.mark.slow
def test_nbgrader_s_own_collect_does_what_the_page_says(exchanged):
    """It believes names and follows links: where it no longer does, change the page."""
    course, exchange = exchanged.course, exchanged.exchange
    forged = inbound(exchange) / f"ada+{NAME}+2099-01-02 00:00:00.000000 UTC+forged"
    forged.mkdir()
    (forged / "seed.txt").symlink_to(course.root / "seed")
    course.nbgrader("collect", NAME, "--update", f"--Exchange.root={exchange}")
    taken = course.root / "submitted" / "ada" / NAME / "seed.txt"
    assert str(SEED) in taken.read_text()
    assert not taken.is_symlink()


@pytest.fixture
def class_of_me(tmp_path):
    """A course and an exchange in which the user who runs the test is a student."""
    (tmp_path / "course" / "source" / NAME).mkdir(parents=True)
    inbound(tmp_path / "exchange").mkdir(parents=True)
    return Course(tmp_path / "course"), tmp_path / "exchange"


def submit(exchange, student, second, text):
    folder = inbound(exchange) / f"{student}+{NAME}+{TIME.format(second)}+cmFuZG9t"
    folder.mkdir()
    (folder / f"{NAME}.ipynb").write_text(text)
    return folder


def test_the_newest_submission_of_each_owner_is_taken(class_of_me):
    course, exchange = class_of_me
    submit(exchange, ME, 9, "newest")
    submit(exchange, ME, 1, "older")
    submit(exchange, "somebody_else", 30, "forged")
    (inbound(exchange) / "no submission").mkdir()
    other = inbound(exchange) / f"{ME}+a2_other+{TIME.format(40)}+x"
    other.mkdir()
    students, left = collect_exchange(course, "a1", exchange)
    assert students == [ME]
    folder = course.root / "submitted" / ME / NAME
    assert (folder / f"{NAME}.ipynb").read_text() == "newest"
    assert (folder / "timestamp.txt").read_text() == TIME.format(9)
    assert [line.split(": ", 1)[1] for line in left] == [
        "no name of a submission",
        f"it belongs to {ME}, not to somebody_else",
    ]
    assert not (course.root / "submitted" / "somebody_else").exists()
    assert "somebody_else" in collect_exchange(course, "a1", exchange, any_owner=True)[0]


def test_no_link_and_no_special_file_is_followed(class_of_me, tmp_path):
    course, exchange = class_of_me
    secret = tmp_path / "seed"
    secret.write_text("20261")
    folder = submit(exchange, ME, 1, "mine")
    (folder / "seed.txt").symlink_to(secret)
    (folder / "all").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    (folder / "deep").mkdir()
    (folder / "deep" / "data.bin").write_bytes(b"data")
    elsewhere = submit(tmp_path / "exchange", ME, 0, "old").with_name(
        f"{ME}+{NAME}+{TIME.format(2)}"
    )
    elsewhere.symlink_to(tmp_path)
    _, left = collect_exchange(course, "a1", exchange)
    target = course.root / "submitted" / ME / NAME
    found = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert found == {f"{NAME}.ipynb", "deep/data.bin", "timestamp.txt"}
    assert sum("left out" in line for line in left) == 2
    assert any("a link or a file" in line for line in left)


def test_a_folder_that_is_no_exchange_says_so(class_of_me, tmp_path):
    course, _ = class_of_me
    with pytest.raises(CourseError, match="exchange's root"):
        collect_exchange(course, "a1", tmp_path / "nothing")

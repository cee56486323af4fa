"""The teacher's commands: make a course, grade a class, look at how it went."""

from __future__ import annotations

import argparse
import functools
import sys
from dataclasses import replace
from pathlib import Path

from qlearn.classroom.sandbox.sandbox import Limits, NotIsolatedError


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    described = argparse.ArgumentParser(prog="python -m qlearn.classroom", description=__doc__)
    tasks = described.add_subparsers(dest="task", required=True, metavar="task")

    course = tasks.add_parser("course", help="make a course's folder, or renew its releases")
    variant = tasks.add_parser("variant", help="the same, with cases of its own from a seed")
    for one in (course, variant):
        one.add_argument("folder", type=Path)
        one.add_argument("--only", nargs="*", default=(), metavar="a1", help="some assignments")
        one.add_argument(
            "--seed",
            type=int,
            required=one is variant,
            help="of the cases that count; drawn if new",
        )

    release = tasks.add_parser("release", help="write the clone's notebooks/assignments/release")
    release.add_argument("--to", type=Path, help="another folder")

    collect = tasks.add_parser("collect", help="take submissions from an LMS or the exchange")
    collect.add_argument("folder", type=Path)
    collect.add_argument("assignment")
    collect.add_argument(
        "source", type=Path, help="the zip of Canvas or Moodle, a folder, or nbgrader's exchange"
    )
    collect.add_argument(
        "--any-owner",
        action="store_true",
        help="of the exchange: believe a folder's name, whichever user of the system owns it",
    )

    grade = tasks.add_parser("grade", help="grade, write feedback and the lists of grades")
    grade.add_argument("folder", type=Path)
    grade.add_argument("assignment")
    grade.add_argument("--processes", type=int, default=0, help="side by side; default: the cores")
    grade.add_argument("--again", action="store_true", help="also what has been graded before")
    grade.add_argument("--no-feedback", action="store_true", help="write no feedback pages")
    grade.add_argument("--cell-seconds", type=float, default=Limits.cell_seconds)
    grade.add_argument("--memory-gib", type=float, default=Limits.memory / 2**30)
    grade.add_argument(
        "--without-isolation",
        action="store_true",
        help="run students' code with your own rights: it can read and change your files",
    )

    page = tasks.add_parser("dashboard", help="write a page: scores, commonest diagnoses")
    page.add_argument("folder", type=Path)
    page.add_argument("assignment", nargs="*")
    return described


def main(arguments: list[str]) -> int:
    """Run one command; give the exit status."""
    options = parser().parse_args(arguments)
    from qlearn.classroom.course import Course, CourseError

    try:
        return _run(options, Course)
    except (CourseError, NotIsolatedError, ValueError, OSError) as error:
        print(f"qlearn.classroom: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace, course_type: type) -> int:
    from qlearn.classroom.course import make_course, make_releases

    if options.task in ("course", "variant"):
        course = make_course(options.folder, options.seed, only=options.only)
        print(f"{course.root}: {', '.join(course.assignments())}. Give out what is in release/.")
        return 0
    if options.task == "release":
        from qlearn.course.notebooks.tool import find_root

        folder = options.to or find_root(Path.cwd()) / "notebooks" / "assignments" / "release"
        print("\n".join(str(path) for path in make_releases(folder)))
        return 0
    course = course_type(options.folder.resolve())
    if options.task == "collect":
        from qlearn.classroom.intake.downloads import collect
        from qlearn.classroom.intake.exchange import collect_exchange, inbound

        place = options.assignment, options.source
        if inbound(options.source).is_dir():
            students, left = collect_exchange(course, *place, any_owner=options.any_owner)
        else:
            students, left = collect(course, *place)
        if left:
            print("Left out, look at these by hand:", *left, sep="\n  ")
        print(f"{len(students)} submissions are in {course.root / 'submitted'}.")
        return 0
    if options.task == "grade":
        return _grade(options, course)
    from qlearn.classroom.marks.dashboard import write_dashboard

    print(write_dashboard(course, options.assignment))
    return 0


def _grade(options: argparse.Namespace, course: object) -> int:
    from qlearn.classroom.course import Course
    from qlearn.classroom.intake.classwork import Options
    from qlearn.classroom.marks.gradebook import grade_all

    assert isinstance(course, Course)
    memory = int(options.memory_gib * 2**30)
    limits = replace(Limits(), cell_seconds=options.cell_seconds, memory=memory)
    how = Options(limits, not options.without_isolation, options.processes, options.again)
    feedback = not options.no_feedback
    say = functools.partial(print, flush=True)
    records = grade_all(course, options.assignment, how, say, feedback)
    print(f"{len(records)} submissions graded; lists of grades are in {course.root / 'grades'}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Which tests run in one process, and which begin first, where `make test` uses several.

The tests of a file stay together, since they share fixtures such as a converted model, and so do
those of the files in `TOGETHER`. A file named in `PARTS` takes long and falls into parts that share
nothing but what a whole session does; each part goes to whichever process is free. The longest
groups begin first, by the recorded durations, so that no process is left alone with a long one at
the end.
"""

import json
import re
from pathlib import Path

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

LONG = 20.0  # seconds of a group: above that, its tests count as slow
DURATIONS = Path(__file__).with_name("durations.json")
# Files that go to one process, for the evaluation of the whole split that they share.
TOGETHER = {
    f"tests/measure/test_results_{name}.py": "tests/measure/test_results_*.py"
    for name in ("again", "choosing", "int8")
}
ASSIGNMENT = re.compile(r"\[(?:.*-)?(a\d)\b")  # test_x[a3.step-0]
PARTS = {
    "tests/assignments/test_assignments.py": ASSIGNMENT,
}


def group_of(nodeid):
    """The group of a test: its file, or its part of a file.

    >>> group_of("tests/numerics/test_affine.py::test_zero[4]")
    'tests/numerics/test_affine.py'
    >>> group_of("tests/assignments/test_assignments.py::test_it_is_proven[0-a3.step]")
    'tests/assignments/test_assignments.py::a3'
    """
    file = nodeid.partition("::")[0]
    file = TOGETHER.get(file, file)
    part = PARTS[file].search(nodeid) if file in PARTS else None
    return f"{file}::{part[1]}" if part else file


def recorded():
    """The recorded run: its seconds by group, and what is known of the machine."""
    return json.loads(DURATIONS.read_text(encoding="utf-8"))


class Groups(LoadScopeScheduling):
    """xdist's scheduler with our groups, in the order in which they were collected."""

    def _split_scope(self, nodeid):
        return group_of(nodeid)


def pytest_xdist_make_scheduler(config, log):
    """Take our groups where tests are distributed at all."""
    if config.getvalue("dist") == "load":
        config.option.loadscopereorder = False  # the order of collection counts
        return Groups(config, log)
    return None


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(config, items):
    """Mark what `make check` leaves out, and put the longest groups first in each process."""
    seconds = recorded()["seconds"]
    for item in items:
        if seconds.get(group_of(item.nodeid), 0.0) > LONG:
            item.add_marker("slow")
        if {"smollm", "tokenizer"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("model")
    if hasattr(config, "workerinput"):
        # A group that is not recorded yet may be long, so it begins early.
        items.sort(key=lambda item: -seconds.get(group_of(item.nodeid), 60.0))

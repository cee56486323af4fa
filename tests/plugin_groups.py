"""Which tests run in one process, and which begin first, where `make test` uses several.

The tests of a file stay together: they share fixtures, such as a converted model. A file named in
`SPREAD` holds long tests that share nothing but what a whole session does; each of them goes to
whichever process is free. The longest groups begin first, by the recorded durations, so that no
process is left alone with a long one at the end.
"""

import json
from pathlib import Path

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

DURATIONS = Path(__file__).with_name("durations.json")
SPREAD = ()


def group_of(nodeid):
    """The group of a test: its file, or itself.

    >>> group_of("tests/test_affine.py::test_zero[4]")
    'tests/test_affine.py'
    """
    file = nodeid.partition("::")[0]
    return nodeid if file in SPREAD else file


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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Put the longest groups first where several processes share the work."""
    if not hasattr(config, "workerinput"):
        return
    seconds = recorded()["seconds"]
    # A group that is not recorded yet may be long, so it begins early.
    items.sort(key=lambda item: -seconds.get(group_of(item.nodeid), 60.0))

"""`make test` tells how it goes: how many tests, how long, what is left out and why, how far it is.

`--record-durations` writes down what the groups took, for the estimate and the order of the next
run.
"""

import json
import os
import platform
import time
from pathlib import Path

import needs
import pytest
from plugin_groups import DURATIONS, group_of, recorded

EVERY = 60  # seconds between two lines of progress
ROOT = Path(__file__).parents[2]
LOADERS = "what the course saves, in GPTQModel and torchao: `make loaders` tests it"


def probe():
    """Milliseconds of a fixed piece of work, so short that other work seldom comes between."""
    best = float("inf")
    for _ in range(50):
        begun = time.perf_counter()
        sum(k * k for k in range(50_000))
        best = min(best, time.perf_counter() - begun)
    return 1e3 * best


def minutes(seconds):
    """A rough duration for people.

    >>> minutes(20), minutes(100)
    ('less than a minute', 'about 2 minutes')
    """
    rounded = round(seconds / 60)
    if seconds < 45:
        return "less than a minute"
    return f"about {rounded} minute{'s' if rounded != 1 else ''}"


def exists(group):
    """Whether the files of a group are still there."""
    return any(ROOT.glob(group.partition("::")[0]))


class Progress:
    """What is expected of this run, and what is done of it."""

    def __init__(self, config):
        self.config = config
        self.record = config.getoption("--record-durations")
        self.spent = {}  # group: seconds so far
        self.expected = {}  # group: seconds
        self.total = self.done = 0
        self.begun = self.said = time.monotonic()
        self.processes = max(1, len(getattr(config.option, "tx", None) or []))

    def plan(self, nodeids):
        """Take the collected tests; give the lines that say what is coming."""
        self.total = len(nodeids)
        known = recorded()
        counts = {}
        for nodeid in nodeids:
            group = group_of(nodeid)
            counts[group] = counts.get(group, 0) + 1
        slower = probe() / known["probe"]
        for group, count in counts.items():
            # Of a part of a group, its share; a new group counts a tenth of a second a test.
            whole = known["tests"].get(group, count)
            seconds = known["seconds"].get(group, 0.1 * count)
            self.expected[group] = slower * seconds * min(1.0, count / whole)
        self.begun = self.said = time.monotonic()
        wait = minutes(sum(self.expected.values()) / self.processes)
        aside = f" in {self.processes} processes side by side" if self.processes > 1 else ""
        tests = "1 test" if self.total == 1 else f"{self.total:,} tests"
        return [f"{tests}{aside}: {wait} on this machine"]

    def take(self, report):
        """Count what one phase of a test took."""
        group = group_of(report.nodeid)
        self.spent[group] = self.spent.get(group, 0.0) + report.duration
        self.done += report.when == "teardown"

    def line(self):
        """Say how far the run is, once a minute."""
        now = time.monotonic()
        if now - self.said < EVERY or not self.total:
            return None
        self.said = now
        gone = now - self.begun
        expected = sum(self.expected.values())
        # A group that took longer than expected is as good as done.
        done = sum(min(self.spent.get(group, 0.0), part) for group, part in self.expected.items())
        rest = (expected - done) / self.processes
        if done > 0.1 * expected:  # by now this run says more than the recorded one
            rest = gone * (expected - done) / done
        return (
            f"{self.done:,} of {self.total:,} tests after {gone / 60:.0f} min; "
            f"{minutes(rest)} to go"
        )

    def write(self):
        """Write down the groups' durations and their numbers of tests.

        A run of some groups leaves what is known of the others, scaled to this machine.
        """
        tests = {}
        for nodeid in self.seen:
            tests[group_of(nodeid)] = tests.get(group_of(nodeid), 0) + 1
        known, now = recorded(), probe()
        others = [group for group in known["tests"] if group not in tests and exists(group)]
        seconds = {
            group: known["seconds"].get(group, 0.0) * now / known["probe"] for group in others
        }
        tests |= {group: known["tests"][group] for group in others}
        seconds |= self.spent
        content = {
            "about": "written by `make test ARGS=--record-durations`",
            "machine": f"{os.cpu_count()} cores, {platform.machine()}",
            "probe": round(now, 3),
            "seconds": {k: round(v, 1) for k, v in sorted(seconds.items())},
            "tests": dict(sorted(tests.items())),
        }
        DURATIONS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    # pytest's and xdist's hooks

    def pytest_report_header(self):
        """Say what is left out, before the minute that collecting takes."""
        left = [*needs.missing(), LOADERS]
        return ["collecting takes half a minute", *(f"left out here: {line}" for line in left)]

    def say(self, lines):
        """Write lines of their own among the dots."""
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and lines:
            reporter.write("\n".join(["", *lines, ""]))

    def pytest_collection_finish(self, session):
        """Say what is coming, in a run of one process."""
        if session.items:
            self.seen = [item.nodeid for item in session.items]
            self.say(self.plan(self.seen))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids):
        """Say what is coming, as soon as the first process has collected it."""
        if not self.total:
            self.seen = ids
            self.say(self.plan(ids))

    def pytest_runtest_logreport(self, report):
        """Count, say what failed at once, and now and then how far it is."""
        self.take(report)
        crash = getattr(report.longrepr, "reprcrash", None)
        said = [f"{report.nodeid}: {crash.message.splitlines()[0]}"] if crash else [report.nodeid]
        self.say(["FAILED " + line for line in said if report.failed])
        if line := self.line():
            self.say([line])

    def pytest_sessionfinish(self):
        """Record, where that was asked for."""
        if self.record:
            self.write()


def pytest_addoption(parser):
    """Add the switch that records."""
    parser.addoption("--record-durations", action="store_true", help=DURATIONS.name)


def pytest_configure(config):
    """Watch the run from the process that prints."""
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        config.pluginmanager.register(Progress(config), "qlearn-progress")

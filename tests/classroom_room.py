"""What the classroom's tests share: where they can run, and a course of assignment 1."""

import importlib.util
import os

import pytest

from qlearn.classroom.sandbox import availability

REASON = availability()
if REASON and os.environ.get("CI") and os.name == "posix" and "Linux alone" not in REASON:
    raise RuntimeError(f"students' code can't be isolated here: {REASON}")
needs_bubblewrap = pytest.mark.skipif(bool(REASON), reason=REASON or "bubblewrap runs")
NBGRADER = importlib.util.find_spec("nbgrader") is not None
needs_nbgrader = pytest.mark.skipif(
    not NBGRADER, reason="nbgrader is missing: pip install -c constraints.txt -e '.[classroom]'"
)

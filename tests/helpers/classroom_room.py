"""What the classroom's tests share: where students' code can be isolated."""

import needs
import pytest

from qlearn.classroom.sandbox.sandbox import availability

REASON = availability() and f"{needs.reason('bubblewrap')} ({availability()})"
if REASON and needs.is_strict():
    raise RuntimeError(f"students' code can't be isolated here: {REASON}")
needs_bubblewrap = pytest.mark.skipif(bool(REASON), reason=REASON or "bubblewrap runs")

"""The two small files that nbgrader lays beside a submission: when it was made, and its secret.

`nbgrader submit` draws the secret, and feedback is released under a hash of it: without it no
student can fetch theirs. Both come from the student, so their text is looked at before it goes on.
"""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["SMALL_FILES", "carry"]

SMALL_FILES = {
    "timestamp.txt": re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?( [\w/+:-]+)?"),
    "submission_secret.txt": re.compile(r"[0-9a-f]{128}"),
}
MOST_BYTES = 200


def carry(kept: Path, target: Path) -> None:
    """Write those of a kept submission that are as nbgrader writes them; no others stay."""
    for file, pattern in SMALL_FILES.items():
        (target / file).unlink(missing_ok=True)
        source = kept / file
        if source.is_symlink() or not source.is_file() or source.stat().st_size > MOST_BYTES:
            continue
        text = source.read_text(encoding="utf-8", errors="replace").strip()
        if pattern.fullmatch(text):
            (target / file).write_text(text, encoding="utf-8")

"""Committed results: measured once by a command, read by the chapters.

A file `NAME.json`, in a folder by what it is about, holds its rows and where they come from:
command, commit, versions, CPU and date. Chapters quote rows; tests compute some of them again.
The benchmarks write them (`tests/benchmarks`, `make bench`).
"""

import json
import re
from pathlib import Path
from typing import Any

__all__ = ["FOLDER", "check_name", "find", "load"]

FOLDER = Path(__file__).parent


def find(name: str, suffix: str = ".json") -> Path | None:
    """Give the path of a results file, or None where there is none of that name.

    Raises:
        ValueError: a bad name.
    """
    check_name(name)
    return next(FOLDER.rglob(name + suffix), None)


def load(name: str) -> dict[str, Any]:
    """Read a results file: "rows", and the entries that say where they come from.

    Raises:
        ValueError: a bad name.
        OSError: no such file, or a damaged one.
    """
    path = find(name)
    if path is None:
        known = ", ".join(sorted(file.stem for file in FOLDER.rglob("*.json"))) or "none yet"
        raise FileNotFoundError(
            f"name={name!r} has no results file ({known}); run `python -m qlearn bench`"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["rows"], content["command"]
    except (ValueError, KeyError, TypeError) as error:
        raise OSError(
            f"{path} is damaged ({error}); restore it with `git checkout`, "
            "or run `python -m qlearn bench`"
        ) from error
    return dict(content)


def check_name(name: str) -> None:
    """Raise a ValueError for what can't name a results file."""
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise ValueError(
            f"name={name!r} is not a results file's name; "
            "use lower-case letters, digits, '-' and '_'"
        )

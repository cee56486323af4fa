"""What a row of the tools table says beside its figures: lines of use, versions, release dates."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from _tools_packages import newest as newest_release

from qlearn.models.fetch import cache_folder

VERSIONS = """
import json, sys
from importlib.metadata import version
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


def lines_of_use(source: str, row: str) -> list[str]:
    """The lines between ``# lines of ROW ...`` and ``# end``, of all such places that name the row.

    Raises:
        ValueError: where there are none.
    """
    found: list[str] = []
    marked = re.finditer(
        r"^ *# lines(?: of|:) ([\w -]+)\n(.*?)^ *# end$", source, re.DOTALL | re.MULTILINE
    )
    for place in marked:
        if row in place[1].split():
            lines = textwrap.dedent(place[2]).splitlines()
            found += [line for line in lines if line.strip() and not line.startswith("# ")]
    if not found:
        raise ValueError(f"row={row!r} has no lines of use; mark them by '# lines of {row}'")
    return found


def versions(python: Path, packages: Sequence[str]) -> dict[str, str]:
    """The versions that an environment holds."""
    command = [str(python), "-c", VERSIONS, *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def newest(package: str) -> dict[str, str | None]:
    """The newest version that pip finds, the day of its files, and the day of asking.

    The day is that of the newest file in the package, which has to be fetched once: it is kept in
    the course's cache by name and version. ``None`` where the
    files do not tell.
    """
    kept = cache_folder() / "released.json"
    known: dict[str, str | None] = json.loads(kept.read_text()) if kept.is_file() else {}
    version = newest_version(package)
    entry = f"{package}=={version}"
    if entry not in known:
        with tempfile.TemporaryDirectory() as folder:
            try:
                day, _ = newest_release(Path(sys.executable), entry, Path(folder))
                known[entry] = day.isoformat()
            except ValueError:
                known[entry] = None
        kept.write_text(json.dumps(known, indent=1, sort_keys=True))
    today = datetime.now(UTC).date().isoformat()
    return {"newest": version, "released": known[entry], "checked": today}


def newest_version(package: str) -> str:
    """The newest version that pip would install."""
    command = [sys.executable, "-m", "pip", "index", "versions", package]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split("(", 1)[1].split(")", 1)[0]


def described(row: str, about: dict[str, Any], source: str) -> dict[str, Any]:
    """The part of a row that needs nothing to be run."""
    names = ("title", "install", "needs", "bits", "group")
    return {
        "name": row,
        **{name: about.get(name) for name in names},
        "lines": lines_of_use(source, row),
        "tool": about.get("registry", about["packages"][0]),
        "state": about.get("state", ""),
        "notes": about.get("notes", ""),
    }

"""Writes results files, each with where its rows come from.

`qlearn.measure.results` reads them.
"""

import json
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from qlearn.classroom.cores import usable_cores
from qlearn.measure import results
from qlearn.models.long_runs import whole_file

ROOT = Path(__file__).parents[2]
EXCLUDED = "src/qlearn/measure/results"
PACKAGES = ("torch", "transformers", "numpy", "safetensors", "gguf", "bitsandbytes", "peft")
ORIGIN = ("command", "commit", "modified", "date", "cpu", "cores", "platform", "versions")


def save(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    command: str,
    *,
    kind: str | None = None,
    **extra: Any,
) -> Path:
    """Write a results file, whole or not at all.

    Args:
        name: of lower-case letters, digits, "-" and "_".
        rows: what was measured: a mapping a row, of JSON's own types and finite numbers.
        command: the command that produces it again, as a reader types it.
        kind: the folder of a new file, such as `"quality"`; one that is there keeps its place.
        extra: further entries beside the rows, such as `model` or `text`.

    Returns:
        The file's path.

    Raises:
        ValueError: a bad name, no rows, a value that JSON can't hold, or a new file of no kind.
        OSError: the folder can't be written.
    """
    results.check_name(name)
    if isinstance(rows, str | Mapping) or not all(isinstance(row, Mapping) for row in rows):
        raise ValueError(f"rows={rows!r:.80} is not a list of mappings; give one mapping a row")
    if not rows:
        raise ValueError(f"rows of {name!r} is empty; save after measuring")
    if not command.strip():
        raise ValueError(f"command={command!r} is empty; name the command that measures it again")
    clash = sorted({*extra} & {*ORIGIN, "rows"})
    if clash:
        raise ValueError(f"{clash[0]}= is recorded by itself; choose another name for it")
    content = {"command": command, **origin(), **extra, "rows": [dict(row) for row in rows]}
    try:
        text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"rows of {name!r} hold a value that JSON can't ({error}); "
            "convert tensors with .item(), and write None for what is not finite"
        ) from error
    path = results.find(name)
    if path is None:
        if not kind:
            raise ValueError(f"{name!r} is a new results file; say kind=, the folder it goes into")
        path = results.FOLDER / kind / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as new:
        new.write_text(text + "\n", encoding="utf-8")
    return path


def origin() -> dict[str, Any]:
    """Say where results come from: commit, date, CPU and versions."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", "src/qlearn", f":(exclude){EXCLUDED}")
    return {
        "commit": commit or "unknown",
        "modified": bool(changes),  # the package differed from that commit
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **_versions()},
    }


def cpu_model() -> str:
    """Give the processor's name as its maker writes it, as far as the platform tells."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        if found:
            return found[1].strip()
    except OSError:
        pass
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.stdout.strip():
            return done.stdout.strip()
    return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git(*arguments: str) -> str:
    """Run git in the clone; empty where there is no git or no repository."""
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

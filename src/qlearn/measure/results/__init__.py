"""Committed results: measured once by a command, read by the chapters.

A file `results/NAME.json` holds its rows and where they come from: command, commit, versions,
CPU and date. Chapters quote rows; tests compute some of them again.
"""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
PACKAGES = ("torch", "transformers", "numpy", "safetensors", "gguf", "bitsandbytes", "peft")
ORIGIN = ("command", "commit", "modified", "date", "cpu", "cores", "platform", "versions")


def save(name: str, rows: Sequence[Mapping[str, Any]], command: str, **extra: Any) -> Path:
    """Write a results file, whole or not at all.

    Args:
        name: of lower-case letters, digits, "-" and "_".
        rows: what was measured: a mapping a row, of JSON's own types and finite numbers.
        command: the command that produces it again, as a reader types it.
        extra: further entries beside the rows, such as `model` or `text`.

    Returns:
        The file's path.

    Raises:
        ValueError: a bad name, no rows, or a value that JSON can't hold.
        OSError: the folder can't be written.
    """
    _check_name(name)
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
    path = FOLDER / f"{name}.json"
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        FOLDER.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def load(name: str) -> dict[str, Any]:
    """Read a results file: "rows", and the entries that say where they come from.

    Raises:
        ValueError: a bad name.
        OSError: no such file, or a damaged one.
    """
    _check_name(name)
    path = FOLDER / f"{name}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["rows"], content["command"]
    except FileNotFoundError as error:
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.json"))) or "none yet"
        raise FileNotFoundError(
            f"name={name!r} has no results file ({known}); run `python -m qlearn bench`"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise OSError(
            f"{path} is damaged ({error}); restore it with `git checkout`, "
            "or run `python -m qlearn bench`"
        ) from error
    return dict(content)


def origin() -> dict[str, Any]:
    """Say where results come from: commit, date, CPU and versions."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", ".", ":(exclude)results")
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


def usable_cores() -> int:
    """Count the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git(*arguments: str) -> str:
    """Run git in the package's folder; empty where there is no git or no repository."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise ValueError(
            f"name={name!r} is not a results file's name; "
            "use lower-case letters, digits, '-' and '_'"
        )

"""Packages of earlier years, and their heir: how old, and whether they install and import."""

from __future__ import annotations

import re
import subprocess
import tarfile
import tempfile
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
# Its name in the registry, and what is imported.
NAMES = {"auto-gptq": "auto_gptq", "autoawq": "awq"}
HEIR = "gptqmodel"


def packages(python: Path) -> list[dict[str, Any]]:
    """A row a package; ``python`` has the course's versions of what they need."""
    rows = []
    for name, module in NAMES.items():
        with tempfile.TemporaryDirectory() as folder:
            released, version = newest(python, name, Path(folder))
            pip = [str(python), "-m", "pip", "install", "--quiet", "-c", str(CONSTRAINTS)]
            installs = _runs([*pip, f"{name}=={version}"])
            failed = _runs([str(python), "-c", f"import {module}"])
            imports = failed is None
            rows.append(
                {
                    "what": "package",
                    "name": name,
                    "version": version,
                    "released": released.isoformat(),
                    "checked": datetime.now(UTC).date().isoformat(),
                    "installs": installs is None,
                    "imports": imports,
                    "error": installs or failed,
                }
            )
    with tempfile.TemporaryDirectory() as folder:
        released, version = newest(python, HEIR, Path(folder))
    rows.append(
        {
            "what": "heir",
            "name": HEIR,
            "version": version,
            "released": released.isoformat(),
            "checked": datetime.now(UTC).date().isoformat(),
        }
    )
    return rows


def newest(python: Path, name: str, folder: Path) -> tuple[date, str]:
    """Day of the newest file in the newest release, and that release's number.

    Raises:
        ValueError: for a package whose files do not tell their day.
    """
    source = folder / name
    command = [str(python), "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--dest", str(source), name]
    # pip asks a source package for its metadata: some need PyTorch for that, which is here, others
    # a build system of their own, which is not.
    if _runs([*command, "--no-build-isolation"]) is not None:
        subprocess.run(command, check=True)
    (file,) = source.iterdir()
    version = file.name.split("-")[1].removesuffix(".tar.gz")
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            return date(*max(entry.date_time for entry in archive.infolist())[:3]), version
    with tarfile.open(file) as tar:
        times = {one.mtime for one in tar}
    if len(times) == 1:
        raise ValueError(f"all files of {file.name} have one time, which its build system set")
    return datetime.fromtimestamp(max(times), UTC).date(), version


def _runs(command: list[str]) -> str | None:
    """``None`` where a command succeeds, otherwise the last line that it says."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.returncode:
        return None
    said = [line for line in done.stderr.strip().splitlines() if line.strip()]
    last = re.sub(r" \(/[^)]*\)", "", said[-1]) if said else f"exit status {done.returncode}"
    return last[:200]  # without the places of files on this machine

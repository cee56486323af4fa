"""Versions of a model side by side, and which of them is served.

Each version is a folder that nobody writes to once it is there. A file beside them names the one in
use; it is replaced in one step, so that who reads it finds the old name or the new one, never
half of a name, and never an old model with a new tokenizer. Rolling back writes a name.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from qlearn.models.long_runs import whole_file

FILE = "versions.json"
Check = Callable[[Path], list[str]]  # a version's folder to what is wrong with it


class Versions:
    """The versions in one folder.

    Args:
        root: where the versions' folders are.

    Raises:
        OSError: where ``root`` is no folder, or its file of versions is damaged.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).resolve()
        if not self.root.is_dir():
            raise NotADirectoryError(f"root={str(root)!r} is not a folder; make it first")

    @property
    def history(self) -> list[str]:
        """Names of all that were served, the one in use last; without those rolled back."""
        try:
            history = json.loads((self.root / FILE).read_text(encoding="utf-8"))["history"]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as error:
            raise OSError(f"{self.root / FILE} is damaged ({error}); write it again") from error
        return [str(name) for name in history]

    @property
    def current(self) -> Path:
        """Folder of the version in use.

        Raises:
            OSError: where none is.
        """
        history = self.history
        if not history:
            raise FileNotFoundError(f"no version in {self.root} is in use; switch to one")
        return self.root / history[-1]

    def switch(self, name: str) -> Path:
        """Serve this version from the next request on.

        Raises:
            OSError: where there is no such version.
        """
        if not (self.root / name / "config.json").is_file():
            known = sorted(path.parent.name for path in self.root.glob("*/config.json"))
            raise FileNotFoundError(
                f"name={name!r} is no version in {self.root}; known: {', '.join(known) or 'none'}"
            )
        return self._write([*self.history, name])

    def release(self, name: str, check: Check) -> list[str]:
        """Switch to a version if nothing is wrong with it.

        Args:
            name: its folder's name.
            check: is given the folder; what it returns is said and stops the release.

        Returns:
            What is wrong; empty where the version is now in use.
        """
        wrong = check(self.root / name)
        if not wrong:
            self.switch(name)
        return wrong

    def roll_back(self) -> Path:
        """Serve again what was served before; the version in use is forgotten.

        Raises:
            OSError: where nothing was served before.
        """
        history = self.history
        bad = history[-1:]
        while history and history[-1:] == bad:  # released twice, it is no better
            history.pop()
        if not history:
            raise FileNotFoundError(f"no earlier version in {self.root} was in use; switch to one")
        return self._write(history)

    def _write(self, history: list[str]) -> Path:
        with whole_file(self.root / FILE) as new:
            new.write_text(json.dumps({"history": history}) + "\n", encoding="utf-8")
        return self.root / history[-1]


def digests(folder: str | os.PathLike[str]) -> dict[str, str]:
    """SHA-256 of each file of a version: the cheapest check, and the first to make."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).iterdir())
        if path.is_file()
    }

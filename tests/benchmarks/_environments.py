"""Environments of the libraries that the course's own can't hold, made once in its cache."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from qlearn.models.fetch import cache_folder

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # of the commands of a clone
from tools.environment import Environment  # noqa: E402
from tools.loaders import layer  # noqa: E402


def python_with_loaders() -> Path:
    """The interpreter of `make loaders`: the course's own packages, GPTQModel and torchao."""
    return layer(Environment(ROOT / ".venv")).python


def python_with(name: str, *requirements: str) -> Path:
    """The interpreter of the environment ``name``, with PyTorch's CPU build and ``requirements``.

    Args:
        name: of its folder in the cache; one that is there is taken as it is.
        requirements: what pip installs.
    """
    folder = cache_folder() / "environments" / name
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.is_file():
        venv.create(folder, clear=True, with_pip=True)
        torch = next(
            line
            for line in (ROOT / "constraints.txt").read_text().splitlines()
            if line.startswith("torch==")
        )
        # PyTorch first, as in the course's own set-up: what follows then keeps the CPU build.
        for wanted in ([torch], requirements):
            subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
        done.write_text("\n".join(requirements))
    print(f"{name}: {python}", file=sys.stderr, flush=True)
    return python

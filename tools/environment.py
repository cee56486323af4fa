"""The set-up: a `.venv` with all that the course needs, and the model and texts in the cache.

Standard library only: it runs before anything is installed.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.errors import CommandError, TaskError, diagnose
from tools.torch_build import PIP, Runner, install_torch, pinned_torch

DISK_BYTES = 5_000_000_000  # .venv 2.5 GB, the model's cache 0.8 GB, and pip's own copies
PINNED_UP_TO = (3, 13)  # the last Python that the pinned packages have wheels for
EXTRAS = "dev"  # all that any command of `tools.tasks` needs, the other extras included
LOG_NAME = "setup.log"

# Loads each once, which fetches, verifies and converts what the cache does not hold yet.
PREFETCH = """
from qlearn.models.text import load_reviews, load_text
from qlearn.models.load import load_model, load_tokenizer
load_tokenizer("smollm2-135m")
load_model("smollm2-135m")
load_text("editorials")
load_reviews()
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment of a clone: where its programs lie, and how one is run.

    Attributes:
        folder: its own.
        inside: the clone, where that isn't the folder just above.
    """

    folder: Path
    inside: Path | None = None

    @property
    def root(self) -> Path:
        """The clone that it lies in."""
        return self.inside or self.folder.parent

    @property
    def programs(self) -> Path:
        """The folder of its executables."""
        return self.folder / ("Scripts" if os.name == "nt" else "bin")

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.programs / ("python.exe" if os.name == "nt" else "python")

    @property
    def stamp(self) -> Path:
        """The file that says what was installed."""
        return self.folder / "qlearn-setup.json"

    def variables(self, base: Mapping[str, str]) -> dict[str, str]:
        """Give a child process its variables: this environment's programs come first."""
        variables = {name: value for name, value in base.items() if name != "PYTHONHOME"}
        variables["VIRTUAL_ENV"] = str(self.folder)
        variables["PATH"] = os.pathsep.join([str(self.programs), base.get("PATH", os.defpath)])
        return variables

    def run(self, arguments: list[str], program: str = "python", **more: str) -> int:
        """Run one of its programs in the clone, its output shown; give its exit status.

        Args:
            arguments: what follows the program's name.
            program: the name of one of `programs`.
            more: environment variables, added to this process's.
        """
        command = [str(self.programs / program), *arguments]
        variables = {**self.variables(os.environ), **more}
        return subprocess.run(command, cwd=self.root, env=variables, check=False).returncode

    def version(self) -> str | None:
        """Give its Python's version as `3.11`, or None where it does not run."""
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        try:
            answer = subprocess.run(
                [str(self.python), "-c", code], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return answer.stdout.strip()


def fingerprint(root: Path, version: str, newest: bool) -> str:
    """Hash all that decides what `.venv` holds, the clone's own place included."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((root / name).read_bytes())
    digest.update(f"{root}|{version}|{newest}|{EXTRAS}".encode())
    return digest.hexdigest()


def read_stamp(environment: Environment) -> dict[str, str]:
    """Read the stamp; an absent or broken one counts as empty."""
    try:
        stamp = json.loads(environment.stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def check_disk(folder: Path, needed: int = DISK_BYTES) -> None:
    """Raise a TaskError where a folder's disk has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise TaskError(
            f"the set-up needs {needed / 1e9:.0f} GB of free disk, {free / 1e9:.1f} GB are free "
            f"at {folder}; free some space and run the same command again"
        )


def create(environment: Environment, run: Runner) -> None:
    """Make the virtual environment afresh, with the running Python.

    Raises:
        TaskError: this Python can't make one, or the folder is not writable.
    """
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise TaskError(
            "this Python can't make virtual environments; on Debian or Ubuntu run "
            f"`sudo apt install python3.{sys.version_info[1]}-venv`, then the same command again"
        )
    if not os.access(environment.root, os.W_OK):
        raise TaskError(f"{environment.root} is not writable; clone into a folder of your own")
    run([sys.executable, "-m", "venv", "--clear", str(environment.folder)])


def logged(log: Path, variables: Mapping[str, str], folder: Path) -> Runner:
    """Make a runner: it appends a command and its output to the log, and raises CommandError."""

    def run(command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=folder,
            env=dict(variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        with log.open("a", encoding="utf-8") as file:
            file.write(f"$ {' '.join(command)}\n{done.stdout}\n")
        if done.returncode:
            raise CommandError(command, done.stdout)
        return done.stdout

    return run


def setup(root: Path, *, newest: bool = False, say: Callable[[str], None] = print) -> Environment:
    """Bring `.venv` and the cache up to date; does nothing where they are.

    Args:
        root: the clone.
        newest: the newest packages that pyproject.toml allows, not the pinned ones.
        say: takes the lines of progress.

    Raises:
        TaskError: with one line that says what is wrong and what to do.
    """
    environment = Environment(root / ".venv")
    stamp = read_stamp(environment)
    version = environment.version()
    if version is None or stamp.get("root", str(root)) != str(root):
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        fresh = True
    else:
        fresh = False
        if stamp.get("inputs") == fingerprint(root, version, newest) and not missing_cache(stamp):
            return environment
    log = root / LOG_NAME
    try:
        if fresh:
            check_disk(root)
        log.write_text("", encoding="utf-8")
        if fresh:
            say(f"Setting up .venv with Python {version} (details: {LOG_NAME})")
            create(environment, logged(log, os.environ, root))
        _install(root, environment, version, newest, log, say)
    except CommandError as error:
        raise TaskError(f"{diagnose(error.output)} (full log: {log})") from error
    except OSError as error:
        raise TaskError(diagnose(f"{type(error).__name__}: {error}")) from error
    return environment


def missing_cache(stamp: Mapping[str, str]) -> bool:
    """Tell whether the cache that a stamp names is gone, or is no longer the one in use."""
    cache = stamp.get("cache")
    chosen = os.environ.get("QLEARN_CACHE")
    if not cache or (chosen and Path(chosen).expanduser() != Path(cache)):
        return True
    return not Path(cache).is_dir()


def _install(
    root: Path,
    environment: Environment,
    version: str,
    newest: bool,
    log: Path,
    say: Callable[[str], None],
) -> None:
    """Install torch, then the rest, then fetch the model and the texts; stamp at the end."""
    run = logged(log, environment.variables(os.environ), root)
    python = str(environment.python)
    numbers = tuple(int(part) for part in version.split("."))
    if numbers > PINNED_UP_TO and not newest:
        say(f"Python {version} is newer than the pinned packages: taking the newest allowed ones.")
    pinned = not newest and numbers <= PINNED_UP_TO
    constraints = ["-c", str(root / "constraints.txt")] if pinned else []
    torch = pinned_torch((root / "constraints.txt").read_text(encoding="utf-8"))
    say("Installing PyTorch")
    install_torch(environment.python, torch if pinned else None, constraints, run, say)
    say("Installing the course's packages")
    run([python, *PIP, "install", *constraints, "-e", f".[{EXTRAS}]"])
    say("Fetching the model and the texts (once, 100 MB)")
    run([python, "-c", PREFETCH])
    cache = run(
        [python, "-c", "from qlearn.models.fetch import cache_folder; print(cache_folder())"]
    )
    stamp = {
        "inputs": fingerprint(root, version, newest),
        "root": str(root),
        "cache": cache.strip().splitlines()[-1],
        "packages": "pinned" if pinned else "newest",
    }
    environment.stamp.write_text(json.dumps(stamp, indent=1), encoding="utf-8")

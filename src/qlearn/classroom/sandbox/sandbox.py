"""The command line that runs a student's process isolated, with bubblewrap (Linux).

Inside there is: the interpreter and installed packages without those that hold answers, the
filtered `qlearn`, the packaged models, the submission's own files, all read-only; a small /tmp and
an empty /work; no network, no other process, no environment, no home. `seccomp` forbids new
processes, limits of the kernel bound memory, files and CPU time.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qlearn.classroom.sandbox.filtered import PACKAGES, filtered_copy
from qlearn.models.fetch import cache_folder

__all__ = ["Limits", "NotIsolatedError", "Room", "availability", "command"]

HIDDEN_FILES = (".pth", ".egg-link")


class NotIsolatedError(RuntimeError):
    """Students' code can't be run isolated here, and nobody has said that it may run without."""


@dataclass(frozen=True)
class Limits:
    """What a student's process may take.

    Attributes:
        memory: bytes of address space.
        cell_seconds: of CPU time, for one cell (at most four times that on the clock).
        call_seconds: of CPU time, for one call of an answer, where its question allows no less.
        notebook_seconds: on the clock, for all of a notebook; what is left then earns nothing.
        file: bytes of one file that it writes.
        scratch: bytes of all of them.
        losses: how often a notebook's process is started anew after it was stopped.
    """

    memory: int = 4 * 2**30
    cell_seconds: float = 30.0
    call_seconds: float = 60.0
    notebook_seconds: float = 900.0
    file: int = 64 * 2**20
    scratch: int = 128 * 2**20
    losses: int = 8

    def inside(self) -> dict[str, int]:
        """The limits that the process sets on itself, for good, before it runs anything."""
        seconds = int(self.notebook_seconds) + 1
        return {
            "memory": self.memory,
            "cpu": seconds,
            "file": self.file,
            "files": 256,
            "processes": 512,
        }


@dataclass(frozen=True)
class Room:
    """Where one notebook runs: what is blocked, which files of the submission it sees, limits.

    Attributes:
        blocked: dotted names that its `qlearn` lacks.
        files: file name in /work -> the submission's file.
        limits: what its process may take.
        models: whether it sees the packaged models.
        isolated: False runs it with this user's rights. The teacher must have said so.
    """

    blocked: tuple[str, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    models: bool = True
    isolated: bool = True


@functools.cache
def availability() -> str:
    """Why bubblewrap can't isolate here, or '' if it can. Tried once, for real."""
    if sys.platform != "linux":
        return f"bubblewrap runs on Linux alone, not on {sys.platform}: grade in a Linux VM or WSL2"
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return "bubblewrap is not installed: `apt-get install bubblewrap`, or your system's package"
    tried = [
        bwrap,
        *_system(),
        "--unshare-all",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "/usr/bin/true",
    ]
    done = subprocess.run(tried, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    return (
        f"bubblewrap fails ({done.stderr.strip()[:200]}): user namespaces may be forbidden here; "
        "on Ubuntu 24.04 `sysctl kernel.apparmor_restrict_unprivileged_userns=0` allows them, "
        "in a container `--security-opt seccomp=unconfined` or a run as root"
    )


def command(room: Room, folder: Path, seccomp: int | None) -> tuple[list[str], list[str]]:
    """The command that starts the worker of a room, and the arguments that bubblewrap reads.

    The latter go through a pipe: on a command line, paths of this machine would be seen inside.

    Args:
        room: what the worker sees.
        folder: of the grader, where filtered copies are kept.
        seccomp: the file descriptor that holds the filter of system calls.

    Raises:
        NotIsolatedError: where bubblewrap can't run, and the room should be isolated.
    """
    copy = filtered_copy(room.blocked, folder)
    sites = [Path(p) for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
    sites = [site for site in sites if site.is_dir()]
    python = os.path.realpath(sys.executable)
    library = [sysconfig.get_path("stdlib"), str(Path(sysconfig.get_path("stdlib"), "lib-dynload"))]
    if not room.isolated:
        paths = [str(copy), *library, *(str(_forest(site, site, folder)) for site in sites)]
        return [python, "-I", "-S", "-c", _start(paths, room.limits)], []
    if reason := availability():
        raise NotIsolatedError(
            f"students' code can't be run isolated: {reason}. `--without-isolation` grades with "
            "your own rights: such code could read and change your files, and others' submissions"
        )
    paths = ["/qlearn", *library, *(f"/packages/{k}" for k in range(len(sites)))]
    mounts = ["--ro-bind", str(copy), "/qlearn"]
    mounts += ["--ro-bind", sys.base_prefix, sys.base_prefix] if _outside_usr() else []
    for hidden in _other_packages():
        mounts += ["--tmpfs", str(hidden)]
    for k, site in enumerate(sites):
        real = f"/installed/{k}"
        mounts += ["--ro-bind", str(site), real]
        mounts += ["--ro-bind", str(_forest(site, Path(real), folder)), f"/packages/{k}"]
        for entry in site.iterdir():
            if _holds_answers(entry.name):
                mask = ["--tmpfs"] if entry.is_dir() else ["--ro-bind", os.devnull]
                mounts += [*mask, f"{real}/{entry.name}"]
    models = cache_folder() / "models"
    if room.models:
        mounts += ["--ro-bind-try", str(models), "/cache/models"]
    scratch = str(room.limits.scratch)
    mounts += ["--size", scratch, "--tmpfs", "/tmp", "--size", scratch, "--tmpfs", "/work"]
    for name, path in room.files.items():
        mounts += ["--ro-bind", str(path), f"/work/{name}"]
    # /dev and the root are in memory too: read-only, so that nothing fills them.
    mounts += ["--size", "1048576", "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    filters = ["--seccomp", str(seccomp)] if seccomp is not None else []
    arguments = [
        *("--unshare-all", "--die-with-parent", "--new-session", "--clearenv"),
        *("--uid", "65534", "--gid", "65534", "--hostname", "room"),
        *(*_system(), "--proc", "/proc", "--dev", "/dev", *mounts, *_environment()),
        *("--remount-ro", "/", "--chdir", "/work", *filters),
    ]
    return [python, "-I", "-S", "-c", _start(paths, room.limits)], arguments


def _start(paths: list[str], limits: Limits) -> str:
    return (
        f"import sys; sys.path[:] = {paths!r}; from qlearn.classroom.sandbox.worker import main; "
        f"main({limits.inside()!r})"
    )


def environment() -> dict[str, str]:
    """Every variable that the worker has."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "MPLBACKEND": "Agg",
        "QLEARN_CACHE": "/cache",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _environment() -> list[str]:
    return [part for pair in environment().items() for part in ("--setenv", *pair)]


def _system() -> list[str]:
    """Mounts of the system's libraries; on merged systems /lib and the like are links."""
    mounts = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "lib", "lib32", "lib64", "sbin"):
        path = Path("/", name)
        if path.is_symlink():
            mounts += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            mounts += ["--ro-bind", str(path), str(path)]
    for file in ("/etc/ld.so.cache", "/etc/alternatives"):
        mounts += ["--ro-bind-try", file, file]
    return mounts


def _outside_usr() -> bool:
    return not Path(sys.base_prefix).resolve().is_relative_to("/usr")


def _other_packages() -> list[Path]:
    """Folders of packages inside what is mounted that are not on the worker's path: emptied."""
    bases = {Path(sys.base_prefix), Path("/usr"), Path("/usr/local")}
    found = {p for base in bases for p in base.glob("lib/python3*/*-packages") if p.is_dir()}
    return sorted(found)


def _holds_answers(entry: str) -> bool:
    name = entry.lower().replace("-", "_")
    if entry.endswith(HIDDEN_FILES) or name.startswith(("qlearn", "__editable__", "_qlearn")):
        return True
    stem = name.split(".")[0].rstrip("0123456789").rstrip("_")
    return any(stem == package or name.startswith(f"{package}_") for package in PACKAGES) or any(
        name.startswith((f"{package}.", f"{package}-")) for package in PACKAGES
    )


@functools.cache
def _forest(site: Path, target: Path, folder: Path) -> Path:
    """A folder of links to a site's packages, without those that hold answers.

    A package that is masked where it lies would still be found, as an empty one.
    """
    state = f"{site}-{target}-{site.stat().st_mtime_ns}".replace("/", "_")
    forest = folder / "packages" / state
    if forest.is_dir():
        return forest
    made = forest.with_name(f".made-{os.getpid()}-{state}")
    made.mkdir(parents=True)
    for entry in site.iterdir():
        if not _holds_answers(entry.name) and entry.name != "__pycache__":
            (made / entry.name).symlink_to(target / entry.name)
    try:
        made.rename(forest)
    except OSError:  # another grader was faster
        shutil.rmtree(made)
    return forest

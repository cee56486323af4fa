"""What is missing is skipped by name with the line that installs it, and is a failure in CI."""

import sys

import needs
import pytest


@pytest.fixture
def nothing_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(needs.shutil, "which", lambda _: None)
    monkeypatch.setattr(needs.Path, "home", lambda: tmp_path)
    monkeypatch.delenv("PLAYWRIGHT_BROWSERS_PATH", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    needs.find.cache_clear()
    yield
    needs.find.cache_clear()


@pytest.mark.parametrize("name", needs.PROGRAMS)
def test_a_missing_program_is_named_with_its_line(nothing_installed, monkeypatch, name):
    monkeypatch.delenv("CI", raising=False)
    line = rf"^{name.replace('+', '.')} is missing; on Debian or Ubuntu: sudo apt install [\w+]+$"
    with pytest.raises(pytest.skip.Exception, match=line):
        needs.require(name)


@pytest.mark.skipif(sys.platform != "linux", reason="the checks run on Linux")
@pytest.mark.parametrize("name", needs.PROGRAMS)
def test_a_missing_program_fails_where_ci_is_set(nothing_installed, monkeypatch, name):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="is missing"):
        needs.require(name)


def test_what_is_left_out_is_listed_before_the_run(nothing_installed):
    lines = needs.missing()
    assert len(lines) == len(needs.PROGRAMS) == len(needs.TESTS)
    assert all("sudo apt install" in line for line in lines)


def test_a_program_that_is_there_is_found(monkeypatch):
    monkeypatch.setattr(needs.shutil, "which", lambda name: f"/bin/{name}")
    needs.find.cache_clear()
    assert needs.require("promtool") == "/bin/promtool"
    assert needs.missing() == []
    needs.find.cache_clear()

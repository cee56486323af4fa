"""Programs that are not Python packages: a test that needs one is skipped by name without it.

On a reader's machine the reason gives the one line that installs it. Where CI is set the test
fails instead, so that nothing is left out there unseen.
"""

import os
import shutil
import sys
from functools import cache
from pathlib import Path

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# What a test needs: the programs of which one is enough, and Debian's package.
PROGRAMS = {
    "Chromium": (BROWSERS, "chromium"),
    "bubblewrap": (("bwrap",), "bubblewrap"),
    "promtool": (("promtool",), "prometheus"),
    "prometheus": (("prometheus",), "prometheus"),
    "a C++ compiler": (("c++", "g++", "clang++"), "g++"),
}
TESTS = {
    "Chromium": "the site and JupyterLab in a browser",
    "bubblewrap": "the sandbox for students' code, and grading in it",
    "promtool": "the alert rules",
    "prometheus": "alerts of a served model",
    "a C++ compiler": "torch.compile",
}


def bundled_browser():
    """Playwright's own Chromium, where `playwright install` has been run.

    Its folder is looked for first: Playwright can only be asked through a program of its own, which
    does not start on a system that has none of a browser's libraries.
    """
    places = (
        os.environ.get("PLAYWRIGHT_BROWSERS_PATH", ""),
        Path.home() / ".cache" / "ms-playwright",
        Path.home() / "Library" / "Caches" / "ms-playwright",
        Path(os.environ.get("LOCALAPPDATA", ".")) / "ms-playwright",
    )
    if not any(list(Path(place).glob("chromium-*")) for place in places if place):
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = Path(playwright.chromium.executable_path)
    return str(path) if path.exists() else None


@cache
def find(name):
    """The path of the program; None without it."""
    found = next(filter(None, map(shutil.which, PROGRAMS[name][0])), None)
    return bundled_browser() if found is None and name == "Chromium" else found


def reason(name):
    """Why a test that needs the program is left out, and the line that installs it."""
    return f"{name} is missing; on Debian or Ubuntu: sudo apt install {PROGRAMS[name][1]}"


def is_strict():
    """Whether a missing program is a failure."""
    return bool(os.environ.get("CI")) and sys.platform == "linux"


def refuse(words):
    """Skip the test, or fail it where CI is set."""
    if is_strict():
        pytest.fail(words)
    pytest.skip(words)


def require(name):
    """The program's path; skips the test without it, or fails where CI is set."""
    found = find(name)
    return found or refuse(reason(name))


def missing():
    """Each program that is not here: what is left out for it, and how to install it."""
    return [f"{TESTS[name]}: {reason(name)}" for name in PROGRAMS if find(name) is None]

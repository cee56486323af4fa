"""Runs the package of `src/` from a fresh clone: `python3 -m qlearn book` with nothing installed.

This folder has no `__init__.py`, so an installed qlearn is always preferred to it.
Any Python can read this file: it is what says which Python the course needs.
"""

import os
import runpy
import sys

NEEDED = (3, 11)


def other_python():
    """Name a Python that is new enough, if one is on the PATH."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    for minor in (11, 12, 13):
        name = "python3.%d" % minor
        for folder in folders:
            if os.access(os.path.join(folder, name), os.X_OK):
                return name
    return None


def main():
    """Check the Python, then hand over to `qlearn.__main__` of the package itself.

    `sys.argv` says which task it is to run.
    """
    if sys.version_info < NEEDED:
        found = other_python()
        remedy = "install Python 3.11 and run it with that"
        if found:
            remedy = "%s is installed: run `%s -m qlearn ...` or `make PYTHON=%s ...`" % (
                found,
                found,
                found,
            )
        sys.exit(
            "qlearn: Python %d.%d is too old, the course needs %d.%d or newer; %s."
            % (sys.version_info[0], sys.version_info[1], NEEDED[0], NEEDED[1], remedy)
        )
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path.insert(0, os.path.join(root, "src"))
    for name in (
        "qlearn",
        "qlearn.__main__",
    ):  # this folder, which stood for the package until here
        sys.modules.pop(name, None)
    runpy.run_module("qlearn", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

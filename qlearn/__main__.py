"""Runs the commands of `tools/` in a fresh clone: `python3 -m qlearn book` with nothing installed.

This folder has no `__init__.py`, so an installed qlearn is always preferred to it.
Any Python can read this file: it is what says which Python the course needs.
"""

import os
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
    """Check the Python, then hand over; `sys.argv` says which task it is to run."""
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
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from tools.tasks import main as run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()

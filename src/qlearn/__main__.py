"""`python -m qlearn setup|book|test|...`: the Makefile's targets, anywhere."""

import sys

from qlearn.tasks import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

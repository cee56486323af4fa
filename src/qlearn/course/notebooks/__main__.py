"""`python -m qlearn.course.notebooks`: the chapters' form and their outputs."""

import sys

from qlearn.course.notebooks.tool import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

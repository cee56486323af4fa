"""`python3 -m qlearn.capstone_board` from a fresh clone: the task `capstone-board`."""

import sys

from qlearn.__main__ import main

if __name__ == "__main__":
    sys.argv.insert(1, "capstone-board")
    main()

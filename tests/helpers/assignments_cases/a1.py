"""Answers to assignment 1 as students might write them, by question."""

from assignments_cases import a1_bytes, a1_grid

CASES = a1_grid.CASES | a1_bytes.CASES

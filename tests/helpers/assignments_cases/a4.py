"""Answers to assignment 4 as students might write them, by question."""

from assignments_cases import a4_block, a4_columns

CASES = a4_columns.CASES | a4_block.CASES

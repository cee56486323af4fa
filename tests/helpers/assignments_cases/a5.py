"""Answers to assignment 5 as students might write them, by question."""

from assignments_cases import a5_base, a5_lora

CASES = a5_base.CASES | a5_lora.CASES

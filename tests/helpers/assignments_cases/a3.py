"""Answers to assignment 3 as students might write them, by question."""

from assignments_cases import a3_gptq, a3_steps

CASES = a3_steps.CASES | a3_gptq.CASES

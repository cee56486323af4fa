"""Answers to assignment 2 as students might write them, by question."""

from assignments_cases import a2_model, a2_scales

CASES = a2_scales.CASES | a2_model.CASES

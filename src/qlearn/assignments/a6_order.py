"""The capstone's second prediction: which part of the model suffers most."""

from __future__ import annotations

from qlearn.checks import Exercise


def make_order(_: int) -> Exercise:
    raise NotImplementedError

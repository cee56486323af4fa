"""Assignment 4, AWQ: which columns matter, scales that protect them, and where these are folded."""

from __future__ import annotations

from qlearn.assignments.a4.block import make_block, measure_block
from qlearn.assignments.a4.fold import make_chain, make_fold
from qlearn.assignments.a4.limits import make_limits
from qlearn.assignments.a4.parts import make_loss, make_salient, make_scales
from qlearn.assignments.a4.search import make_search
from qlearn.assignments.shared.question import Question

# The rooms that hold an answer, or call it.
ROOMS = ("qlearn.methods", "qlearn.convert", "qlearn.course", "qlearn.exercises")

QUESTIONS = [
    Question(
        id="a4.salient",
        title="Which columns matter",
        points=3,
        minutes=10,
        target="the mask is equal in every column",
        answer="salient",
        make=make_salient,
        blocked=ROOMS,
        parts=("real inputs", "real inputs", "a spike and a bias", "a spike and a bias"),
    ),
    Question(
        id="a4.limits",
        title="Predict: how far can one column grow?",
        points=4,
        minutes=12,
        target="four numbers, each within 1%",
        answer="limits",
        make=make_limits,
    ),
    Question(
        id="a4.scales",
        title="Scales from activations",
        points=3,
        minutes=10,
        target="each scale within 0.01%",
        answer="channel_scales",
        make=make_scales,
        blocked=ROOMS,
        parts=("real inputs", "real inputs", "exponent 0", "a dead input"),
    ),
    Question(
        id="a4.loss",
        title="The error that counts",
        points=4,
        minutes=15,
        target="the mean squared error within 0.1%",
        answer="output_loss",
        make=make_loss,
        blocked=ROOMS,
        parts=("per channel", "groups", "groups"),
    ),
    Question(
        id="a4.search",
        title="The search",
        points=4,
        minutes=15,
        target="the exponent itself: 0, 0.05, ... 0.95",
        answer="best_ratio",
        make=make_search,
        blocked=ROOMS,
        parts=("groups", "per channel", "per channel", "the last exponent"),
    ),
    Question(
        id="a4.fold",
        title="Fold into a norm",
        points=3,
        minutes=10,
        target="each number within 0.01%",
        answer="fold",
        make=make_fold,
        blocked=ROOMS,
        parts=("attention", "MLP", "attention"),
    ),
    Question(
        id="a4.chain",
        title="Fold into the layer before",
        points=3,
        minutes=10,
        target="each number within 0.01%",
        answer="chain",
        make=make_chain,
        blocked=ROOMS,
        parts=("without bias", "with bias", "with bias"),
    ),
    Question(
        id="a4.block",
        title="A whole block of SmolLM2",
        points=6,
        minutes=30,
        target="unrounded: the same outputs; rounded: at most 1.1 times the error of our AWQ, on "
        "text that it was not calibrated on",
        answer="awq_block",
        make=make_block,
        blocked=ROOMS,
        parts=("same outputs", "groups", "per channel"),
        seconds=60.0,
        measure=measure_block,
    ),
]

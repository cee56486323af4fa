"""Assignment 2: PTQ and granularity, from an outlier's reach to a model that answers questions."""

from __future__ import annotations

from qlearn.assignments.a2.groups import CLIP_PARTS, GROUPS_PARTS, make_clip, make_groups
from qlearn.assignments.a2.model import MODEL_PARTS, make_model, read
from qlearn.assignments.a2.reach import make_reach
from qlearn.assignments.a2.scales import (
    BITS_PARTS,
    SCALES_PARTS,
    make_bits,
    make_scales,
)
from qlearn.assignments.a2.static import STATIC_PARTS, make_static
from qlearn.assignments.shared.question import Question

# The rooms that hold an answer, or call it.
ROOMS = (
    *("qlearn.numerics", "qlearn.convert", "qlearn.checkpoints", "qlearn.models.layers"),
    *("qlearn.course", "qlearn.exercises"),
)

QUESTIONS = [
    Question(
        id="a2.reach",
        title="Predict: how far an outlier reaches",
        points=2,
        minutes=6,
        target="each share within 2%",
        answer="reach",
        make=make_reach,
    ),
    Question(
        id="a2.bits",
        title="What a grid costs",
        points=3,
        minutes=12,
        target="exact",
        answer="bits_per_weight",
        make=make_bits,
        blocked=ROOMS,
        parts=BITS_PARTS,
    ),
    Question(
        id="a2.scales",
        title="A scale for a tensor, a row, a column",
        points=4,
        minutes=12,
        target="each scale within 0.001%",
        answer="symmetric_scale",
        make=make_scales,
        blocked=ROOMS,
        parts=SCALES_PARTS,
    ),
    Question(
        id="a2.groups",
        title="A grid for each group",
        points=5,
        minutes=20,
        target="codes and zero-points equal; scales within 0.001%",
        answer="quantize_groups",
        make=make_groups,
        blocked=ROOMS,
        parts=GROUPS_PARTS,
    ),
    Question(
        id="a2.clip",
        title="Where to clip",
        points=4,
        minutes=15,
        target="the best share of every row",
        answer="best_shares",
        make=make_clip,
        blocked=ROOMS,
        parts=CLIP_PARTS,
    ),
    Question(
        id="a2.static",
        title="A static grid for activations",
        points=3,
        minutes=12,
        target="scale within 0.01%; zero-point equal",
        answer="static_grid",
        make=make_static,
        blocked=ROOMS,
        parts=STATIC_PARTS,
    ),
    Question(
        id="a2.model",
        title="A whole model, measured",
        points=6,
        minutes=25,
        target="the same bits a weight, no error above half a step + 1%, and at most 1.3 times the "
        "reference's surprise at held-out answers",
        answer="quantize_model",
        make=make_model,
        blocked=ROOMS,
        parts=MODEL_PARTS,
        measure=read,
    ),
]

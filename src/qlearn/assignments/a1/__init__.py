"""Assignment 1: affine INT4 and packing, from five weights by hand to a model in half-bytes."""

from __future__ import annotations

from qlearn.assignments.a1.codes import BACK_PARTS, CODES_PARTS, make_back, make_codes
from qlearn.assignments.a1.grid import GRID_PARTS, make_by_hand, make_grid
from qlearn.assignments.a1.model import MODEL_PARTS, make_model, read
from qlearn.assignments.a1.packing import (
    PACK_PARTS,
    UNPACK_PARTS,
    make_noise,
    make_pack,
    make_unpack,
)
from qlearn.assignments.shared.question import Question

# The rooms that hold an answer, or call it.
ROOMS = (
    *("qlearn.numerics", "qlearn.convert", "qlearn.checkpoints", "qlearn.models.layers"),
    *("qlearn.course", "qlearn.exercises"),
)

QUESTIONS = [
    Question(
        id="a1.by_hand",
        title="Five weights by hand",
        points=2,
        minutes=8,
        target="scale within 0.1%; zero-point and codes exact",
        answer="by_hand",
        make=make_by_hand,
    ),
    Question(
        id="a1.grid",
        title="A grid for each row",
        points=4,
        minutes=15,
        target="scale within 0.001%; zero-points equal",
        answer="choose_grid",
        make=make_grid,
        blocked=ROOMS,
        parts=GRID_PARTS,
    ),
    Question(
        id="a1.codes",
        title="Weights to codes",
        points=4,
        minutes=12,
        target="every code equal",
        answer="quantize",
        make=make_codes,
        blocked=ROOMS,
        parts=CODES_PARTS,
    ),
    Question(
        id="a1.back",
        title="Codes to weights",
        points=2,
        minutes=6,
        target="within 0.001% + 1e-6",
        answer="dequantize",
        make=make_back,
        blocked=ROOMS,
        parts=BACK_PARTS,
    ),
    Question(
        id="a1.noise",
        title="Predict: one bit more",
        points=2,
        minutes=6,
        target="both factors within 2%",
        answer="one_bit_more",
        make=make_noise,
    ),
    Question(
        id="a1.pack",
        title="Two codes in a byte",
        points=4,
        minutes=15,
        target="every byte equal",
        answer="pack_int4",
        make=make_pack,
        blocked=ROOMS,
        parts=PACK_PARTS,
    ),
    Question(
        id="a1.unpack",
        title="And out again",
        points=3,
        minutes=10,
        target="every code equal",
        answer="unpack_int4",
        make=make_unpack,
        blocked=ROOMS,
        parts=UNPACK_PARTS,
    ),
    Question(
        id="a1.model",
        title="A whole model in half-bytes",
        points=5,
        minutes=20,
        target="the same bytes, no error above half a step + 0.1%, and at most 1.3 times the "
        "reference's surprise at held-out answers",
        answer="pack_model",
        make=make_model,
        blocked=ROOMS,
        parts=MODEL_PARTS,
        measure=read,
    ),
]

"""Assignment 3: GPTQ, from two weights by hand to a model, with a bug to show and to repair."""

from __future__ import annotations

from qlearn.assignments.a3 import groups as a3_groups
from qlearn.assignments.a3 import model as a3_model
from qlearn.assignments.a3 import stale as a3_stale
from qlearn.assignments.a3 import steps as a3_steps
from qlearn.assignments.a3 import witness as a3_witness
from qlearn.assignments.shared.question import Question

# The rooms that hold an answer, or call it.
ROOMS = ("qlearn.methods", "qlearn.convert", "qlearn.course", "qlearn.exercises")

QUESTIONS = [
    Question(
        id="a3.by_hand",
        title="Two weights by hand",
        points=2,
        minutes=8,
        target="each number within 1%; codes exact",
        answer="by_hand",
        make=a3_steps.make_by_hand,
    ),
    Question(
        id="a3.hessian",
        title="The Hessian of a layer",
        points=3,
        minutes=10,
        target="each entry within 0.01% + 1e-4",
        answer="hessian",
        make=a3_steps.make_hessian,
        blocked=ROOMS,
        parts=a3_steps.HESSIAN_PARTS,
    ),
    Question(
        id="a3.free",
        title="The best answer of the free columns",
        points=4,
        minutes=15,
        target="each value within 0.1% + 1e-4",
        answer="best_free",
        make=a3_steps.make_free,
        blocked=ROOMS,
        parts=a3_steps.FREE_PARTS,
    ),
    Question(
        id="a3.smallest",
        title="Predict: where the given code goes wrong",
        points=2,
        minutes=7,
        target="exact",
        answer="smallest",
        make=a3_witness.make_smallest,
    ),
    Question(
        id="a3.witness",
        title="An input that shows the bug",
        points=4,
        minutes=20,
        target="the given code loses at least 5% more than GPTQ, at every width from 3 on",
        answer="witness",
        make=a3_witness.make_witness,
        blocked=ROOMS,
        parts=a3_witness.WITNESS_PARTS,
        measure=a3_witness.judge,
    ),
    Question(
        id="a3.gptq",
        title="The repair",
        points=5,
        minutes=20,
        target="every code equal; loss within 0.1% of the right one",
        answer="gptq",
        make=a3_stale.make_gptq,
        blocked=ROOMS,
        parts=a3_stale.GPTQ_PARTS,
        measure=a3_stale.judged,
    ),
    Question(
        id="a3.groups",
        title="Groups, damping, dead inputs",
        points=5,
        minutes=22,
        target="codes and zero-points equal; scales within 0.1%",
        answer="gptq_groups",
        make=a3_groups.make_groups,
        blocked=ROOMS,
        parts=a3_groups.GROUPS_PARTS,
    ),
    Question(
        id="a3.model",
        title="Every layer of a model",
        points=4,
        minutes=15,
        target="loss at most 1% above the right one, of the worst layer 5%; at most 1.5 times its "
        "surprise at held-out answers",
        answer="gptq_model",
        make=a3_model.make_model,
        blocked=ROOMS,
        parts=a3_model.MODEL_PARTS,
        measure=a3_model.read,
    ),
]

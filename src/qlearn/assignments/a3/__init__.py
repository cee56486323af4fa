"""Assignment 3: GPTQ, from two weights by hand to a model, with a bug to show and to repair."""

from __future__ import annotations

from qlearn.assignments.a3 import groups, model, stale, steps, witness
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
        make=steps.make_by_hand,
    ),
    Question(
        id="a3.hessian",
        title="The Hessian of a layer",
        points=3,
        minutes=10,
        target="each entry within 0.01% + 1e-4",
        answer="hessian",
        make=steps.make_hessian,
        blocked=ROOMS,
        parts=steps.HESSIAN_PARTS,
    ),
    Question(
        id="a3.free",
        title="The best answer of the free columns",
        points=4,
        minutes=15,
        target="each value within 0.1% + 1e-4",
        answer="best_free",
        make=steps.make_free,
        blocked=ROOMS,
        parts=steps.FREE_PARTS,
    ),
    Question(
        id="a3.smallest",
        title="Predict: where the given code goes wrong",
        points=2,
        minutes=7,
        target="exact",
        answer="smallest",
        make=witness.make_smallest,
    ),
    Question(
        id="a3.witness",
        title="An input that shows the bug",
        points=4,
        minutes=20,
        target="the given code loses at least 5% more than GPTQ, at every width from 3 on",
        answer="witness",
        make=witness.make_witness,
        blocked=ROOMS,
        parts=witness.WITNESS_PARTS,
        measure=witness.judge,
    ),
    Question(
        id="a3.gptq",
        title="The repair",
        points=5,
        minutes=20,
        target="every code equal; loss within 0.1% of the right one",
        answer="gptq",
        make=stale.make_gptq,
        blocked=ROOMS,
        parts=stale.GPTQ_PARTS,
        measure=stale.judged,
    ),
    Question(
        id="a3.groups",
        title="Groups, damping, dead inputs",
        points=5,
        minutes=22,
        target="codes and zero-points equal; scales within 0.1%",
        answer="gptq_groups",
        make=groups.make_groups,
        blocked=ROOMS,
        parts=groups.GROUPS_PARTS,
    ),
    Question(
        id="a3.model",
        title="Every layer of a model",
        points=4,
        minutes=15,
        target="loss at most 1% above the right one, of the worst layer 5%; at most 1.5 times its "
        "surprise at held-out answers",
        answer="gptq_model",
        make=model.make_model,
        blocked=ROOMS,
        parts=model.MODEL_PARTS,
        measure=model.read,
    ),
]

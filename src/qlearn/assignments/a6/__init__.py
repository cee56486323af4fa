"""Assignment 6, the capstone: the best perplexity in 3.5 bits a parameter, embeddings counted."""

from __future__ import annotations

from qlearn.assignments.a6 import allocate, bits, order
from qlearn.assignments.a6.entry import EntryQuestion, make_entry
from qlearn.assignments.shared.question import Question

QUESTIONS = [
    Question(
        id="a6.budget",
        title="Predict: what the budget leaves",
        points=3,
        minutes=10,
        target="four numbers, each within 0.5%",
        answer="budget",
        make=bits.make_budget,
    ),
    Question(
        id="a6.order",
        title="Predict: what hurts most",
        points=3,
        minutes=10,
        target="the order that we measured",
        answer="order",
        make=order.make_order,
    ),
    Question(
        id="a6.unpack",
        title="A dense stream of codes",
        points=4,
        minutes=15,
        target="every code equal",
        answer="unpack",
        make=bits.make_unpack,
        blocked=("qlearn.exercises", "qlearn.numerics.packing"),
        parts=("3 bits", "5 bits", "4 bits", "7 bits", "a long stream"),
    ),
    Question(
        id="a6.allocate",
        title="Bits where they help",
        points=5,
        minutes=20,
        target="within the budget; at most 1.1 times the loss of our own choice",
        answer="allocate",
        make=allocate.make_allocate,
        measure=allocate.measure_allocation,
        parts=("one model", "a tighter choice", "one tensor is most of it", "many bits"),
    ),
    EntryQuestion(
        id="a6.entry",
        title="Your entry",
        points=15,
        minutes=60,
        target="points by the curve above, from rounding to nearest (none) to the original (all)",
        answer="decode",
        make=make_entry,
        seconds=240.0,
        megabytes=600,
        models=False,  # a decoder that loads the model would need no entry
    ),
]

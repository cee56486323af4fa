"""The capstone's second prediction: which part of the model suffers most from rounding."""

from __future__ import annotations

from qlearn.course.capstone import CAPSTONE
from qlearn.measure.results import load
from qlearn.teach.checks.checker import Exercise

EMBEDDING_4 = "embedding, 4 bits"
EMBEDDING_3 = "embedding, 3 bits"
ATTENTION = "attention, 3 bits"
MLP = "MLP, 3 bits"
EXPERIMENTS = (EMBEDDING_4, EMBEDDING_3, ATTENTION, MLP)


def measured_order() -> list[str]:
    """The experiments of ``results/capstone.json`` by their perplexity, the best first."""
    found = {
        row["entry"]: row["perplexity"]
        for row in load("capstone")["rows"]
        if row["model"] == CAPSTONE.model and row["entry"] in EXPERIMENTS
    }
    return sorted(EXPERIMENTS, key=found.__getitem__)


def make_order(_: int) -> Exercise:
    """The same at every seed: it was measured once."""
    return Exercise(
        id="a6.order",
        task="Put the four experiments in order of the perplexity that they leave, the best first: "
        "a list of their names.",
        expected=measured_order(),
        mistakes={
            "That is the order turned over: the best comes first.": measured_order()[::-1],
            "The embedding is read twice, as the input and as the output head of every token: at "
            "3 bits it hurts more than attention, which has about as many weights.": [
                EMBEDDING_4,
                EMBEDDING_3,
                ATTENTION,
                MLP,
            ],
            "A fourth bit halves the step, and with it the error: the embedding at 4 bits is the "
            "gentlest of the four.": [ATTENTION, EMBEDDING_4, EMBEDDING_3, MLP],
            "The MLPs hold more than half of all weights: rounding them hurts most.": [
                EMBEDDING_4,
                ATTENTION,
                MLP,
                EMBEDDING_3,
            ],
            "The MLPs hold three times as many weights as attention, all at 3 bits here.": [
                EMBEDDING_4,
                MLP,
                ATTENTION,
                EMBEDDING_3,
            ],
            "Attention is the smallest part, and only its products pass a softmax: it is not the "
            "worst.": [EMBEDDING_4, EMBEDDING_3, MLP, ATTENTION],
            "One part at 3 bits cannot do better than the same part at 4.": [
                EMBEDDING_3,
                EMBEDDING_4,
                ATTENTION,
                MLP,
            ],
            "The embedding is a fifth of the parameters, not the most delicate part: at 4 bits it "
            "is the gentlest.": [ATTENTION, MLP, EMBEDDING_4, EMBEDDING_3],
            "Size decides first: the largest part, the MLPs, is not the gentlest.": [
                MLP,
                ATTENTION,
                EMBEDDING_4,
                EMBEDDING_3,
            ],
        },
        hint="How many weights does each part have, how many bits, and how often is it read?",
    )

"""Assignment 5, NF4 and QLoRA: a base in four bits, adapters beside it, a step of training."""

from __future__ import annotations

from qlearn.assignments.a5 import adapters, bytes, codes, double, init, step
from qlearn.assignments.shared.question import Question

# The rooms that hold an answer, or call it.
ROOMS = (
    *("qlearn.numerics", "qlearn.methods", "qlearn.convert", "qlearn.checkpoints"),
    *("qlearn.models.layers", "qlearn.measure", "qlearn.course", "qlearn.exercises"),
)

QUESTIONS = [
    Question(
        id="a5.levels",
        title="A table from quantiles",
        points=4,
        minutes=15,
        target="each level within 0.001%",
        answer="normal_levels",
        make=codes.make_levels,
        blocked=ROOMS,
        parts=("NF4", "3 bits", "5 bits", "another offset"),
    ),
    Question(
        id="a5.quantize",
        title="Blocks that share an absmax",
        points=4,
        minutes=15,
        target="codes equal; absmax within 0.001%",
        answer="quantize_blocks",
        make=codes.make_quantize,
        blocked=ROOMS,
        parts=("real weights", "a short block", "a block of zeros", "an outlier", "real weights"),
    ),
    Question(
        id="a5.double",
        title="Quantize the absmax too",
        points=4,
        minutes=15,
        target="codes equal; scales and offset within 0.01%",
        answer="double_quantize",
        make=double.make_double,
        blocked=ROOMS,
        parts=("whole blocks", "a short block", "whole blocks"),
    ),
    Question(
        id="a5.bytes",
        title="Predict: bits and bytes",
        points=4,
        minutes=12,
        target="five numbers, each within 0.01%",
        answer="sizes",
        make=bytes.make_bytes,
    ),
    Question(
        id="a5.init",
        title="A fresh adapter",
        points=2,
        minutes=8,
        target="B zero; A within the bound, and as spread as a uniform draw is, within 10%",
        answer="new_adapter",
        make=init.make_init,
        measure=init.measure_adapter,
        blocked=ROOMS,
    ),
    Question(
        id="a5.lora",
        title="The layer forward",
        points=3,
        minutes=12,
        target="each output within 0.01% + 1e-5",
        answer="lora_forward",
        make=adapters.make_lora,
        blocked=ROOMS,
        parts=(
            "rows of whole blocks",
            "blocks over the ends of rows",
            "blocks over the ends of rows",
        ),
    ),
    Question(
        id="a5.gradients",
        title="The layer backward",
        points=4,
        minutes=15,
        target="each gradient within 0.01% + 1e-4",
        answer="adapter_gradients",
        make=adapters.make_gradients,
        blocked=ROOMS,
        parts=("trained", "fresh", "trained"),
    ),
    Question(
        id="a5.step",
        title="A step on a whole model",
        points=5,
        minutes=28,
        target="loss and every number of every adapter within 0.2%",
        answer="qlora_step",
        make=step.make_step,
        blocked=ROOMS,
        parts=("fresh", "trained", "trained"),
        seconds=60.0,
    ),
]

"""The capstone's ends and our own entry: ``results/capstone.json``.

For each track the original and naive rounding at the budget, which are the ends of the curve of
points; what each part of smollm2-135m suffers alone; and our entry, made, decoded and measured by
the evaluator that students use. The entry takes about ten minutes on two cores that do nothing
else, most of it for gradients.

    python tests/benchmarks/capstone.py [ends] [entry]
"""

from __future__ import annotations

import inspect
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _capstone_decode
import torch
from _capstone_entry import compress, measure_harm
from _results import save
from torch import Tensor

from qlearn import QuantScheme, load_model, load_tokenizer, load_tokens
from qlearn.course.capstone import CAPSTONE, PRACTICE, Track, evaluate_entry, measure
from qlearn.measure.results import load
from qlearn.numerics.affine import fake_quantize

COMMAND = "python tests/benchmarks/capstone.py"
NAIVE = {CAPSTONE: QuantScheme(3, group_size=64), PRACTICE: QuantScheme(3)}
PROBES = {
    "embedding, 4 bits": ("embed", 4),
    "embedding, 3 bits": ("embed", 3),
    "attention, 3 bits": ("self_attn", 3),
    "MLP, 3 bits": (".mlp.", 3),
}
ROWS = 16  # of 512 tokens, to calibrate on
FIRST_STEP = 1.2e-4
NEAR = 0.998  # of the budget: close enough


def rounded(model: Any, part: str, scheme: QuantScheme) -> tuple[dict[str, Tensor], int]:
    """All weights, those with ``part`` in their name rounded to nearest; and the stored bits."""
    weights, bits = {}, 0
    for name, parameter in model.named_parameters():
        weight = parameter.detach()
        chosen = weight.dim() == 2 and part in name
        weights[name] = fake_quantize(weight, scheme) if chosen else weight
        bits += scheme.stored_bits(tuple(weight.shape)) if chosen else 16 * weight.numel()
    return weights, bits


def ends(track: Track) -> list[dict[str, Any]]:
    """The original, and naive rounding within the budget."""
    model = load_model(track.model)
    weights, bits = rounded(model, "", NAIVE[track])
    assert bits / 8 <= track.budget
    original = {name: parameter.detach() for name, parameter in model.named_parameters()}
    return [
        row(track, "original", measure(original, track)),
        row(track, "round to nearest", measure(weights, track), bytes=bits // 8),
    ]


def probes() -> list[dict[str, Any]]:
    """What rounding one part of the model does, everything else in floats."""
    model = load_model(CAPSTONE.model)
    return [
        row(
            CAPSTONE,
            name,
            measure(rounded(model, part, QuantScheme(bits, group_size=64))[0], CAPSTONE),
        )
        for name, (part, bits) in PROBES.items()
    ]


def entry(folder: Path) -> dict[str, Any]:
    """Our entry: the step is corrected until the file fills the budget."""
    tokenizer = load_tokenizer(CAPSTONE.model)
    tokens = load_tokens(tokenizer, "editorials", "calibration", ROWS)
    start = time.perf_counter()
    harm = measure_harm(load_model(CAPSTONE.model), tokens)
    print(f"gradients: {time.perf_counter() - start:.0f} s", flush=True)
    code = len(inspect.getsource(_capstone_decode).encode())
    step = FIRST_STEP
    for _ in range(6):
        content = compress(load_model(CAPSTONE.model), tokens, harm, step)
        used = len(content) + code
        print(f"step {step:.3e}: {used:,} bytes of {CAPSTONE.budget:,}", flush=True)
        if NEAR * CAPSTONE.budget <= used <= CAPSTONE.budget:
            break
        # One bit less for each doubling of the step.
        step *= 2 ** (8 * (used - (1 + NEAR) / 2 * CAPSTONE.budget) / CAPSTONE.parameters)
    seconds = time.perf_counter() - start
    file = folder / "entry.bin"
    file.write_bytes(content)
    found = evaluate_entry(file, _capstone_decode.decode, CAPSTONE, code)
    print(found, flush=True)
    return row(
        CAPSTONE,
        "our entry",
        found.perplexity,
        bytes=found.bytes,
        code_bytes=code,
        bits_per_weight=round(found.bits_per_weight, 4),
        step=step,
        seconds=round(seconds, 1),
    )


def row(track: Track, name: str, perplexity: float, **more: Any) -> dict[str, Any]:
    """A row of the results file."""
    return {"model": track.model, "entry": name, "perplexity": round(perplexity, 4), **more}


def main() -> None:
    """Measure all, or what is named; other rows are kept."""
    torch.set_num_threads(2)
    wanted = sys.argv[1:] or ["ends", "entry"]
    rows: list[dict[str, Any]] = []
    try:
        rows = load("capstone")["rows"]
    except OSError:
        assert "ends" in wanted
    if "ends" in wanted:
        fresh = [*ends(CAPSTONE), *ends(PRACTICE), *probes()]
        rows = fresh + [r for r in rows if r["entry"] == "our entry"]
        keep(rows)
    if "entry" in wanted:
        with tempfile.TemporaryDirectory() as folder:
            rows = [r for r in rows if r["entry"] != "our entry"] + [entry(Path(folder))]
        keep(rows)


def keep(rows: list[dict[str, Any]]) -> None:
    """Write the results file."""
    save("capstone", rows, COMMAND, corpus="editorials", split="evaluation", calibration_rows=ROWS)


if __name__ == "__main__":
    main()

"""The capstone's evaluator on a small model: what it measures, and every rule by its name."""

import math
from pathlib import Path

import pytest
import torch

from qlearn import load_model
from qlearn.assignments.a6.entry import EntryQuestion, make_entry, submitted
from qlearn.course.capstone import (
    CAPSTONE,
    PRACTICE,
    EntryError,
    Track,
    code_bytes,
    evaluate_entry,
    shapes,
    share_of_points,
)
from qlearn.course.capstone_board import page, standings
from qlearn.measure.results import load

ROOMY = Track(PRACTICE.model, 16.5)  # holds the model in float16, and so its own perplexity
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def halves(tmp_path_factory) -> Path:
    """An entry: all parameters in float16, by name."""
    parameters = dict(load_model(PRACTICE.model).named_parameters())
    flat = torch.cat([parameters[name].detach().flatten() for name in sorted(parameters)])
    file = tmp_path_factory.mktemp("entry") / "entry.bin"
    file.write_bytes(flat.half().numpy().tobytes())
    return file


def decode(data):
    numbers, weights, at = data.view(torch.float16), {}, 0
    for name, shape in sorted(shapes(PRACTICE.model).items()):
        count = math.prod(shape)
        weights[name] = numbers[at : at + count].view(shape)
        at += count
    return weights


def question(track: Track = ROOMY) -> EntryQuestion:
    return EntryQuestion("a6.entry", "Entry", 10, 60, "all", "decode", make_entry, track=track)


def marked(folder: Path, answer, code: int = 0, track: Track = ROOMY):
    with submitted(folder, code):
        return question(track).mark(answer, seed=0)


def test_the_original_in_float16_earns_all(halves):
    entry = evaluate_entry(halves, decode, ROOMY)
    assert entry.perplexity == pytest.approx(ROOMY.endpoints()[1], rel=1e-3)
    assert entry.bytes == halves.stat().st_size == 2 * ROOMY.parameters
    assert entry.bits_per_weight == 16
    assert entry.share > 0.99
    mark = marked(halves.parent, decode)
    assert mark.points >= 9.5
    assert "perplexity" in mark.verdict.message


def test_points_fall_evenly_with_nats():
    zero, best = CAPSTONE.endpoints()
    assert best < zero
    assert share_of_points(best) == 1
    assert share_of_points(zero) == 0
    assert share_of_points(math.sqrt(best * zero)) == pytest.approx(0.5)
    assert [share_of_points(p) for p in (best / 2, 2 * zero, math.inf, math.nan)] == [1, 0, 0, 0]


def test_the_budget_counts_the_tied_embedding_once_and_the_code(halves):
    assert CAPSTONE.parameters == 134_515_008
    assert CAPSTONE.budget == 58_850_316
    assert code_bytes({"cells": [{"cell_type": "code", "source": ["ä = 1\n", "b"]}]}) == 8
    assert code_bytes({"cells": [{"cell_type": "markdown", "source": "weights"}]}) == 0
    room = ROOMY.budget - halves.stat().st_size
    assert evaluate_entry(halves, decode, ROOMY, code=room).code_bytes == room
    with pytest.raises(EntryError, match="1 more than the budget"):
        evaluate_entry(halves, decode, ROOMY, code=room + 1)


def spoilt(change):
    return lambda data: change(decode(data))


def without(weights, name):
    return {key: value for key, value in weights.items() if key != name}


NORM = "model.norm.weight"
state = {"calls": 0}


def unsteady(data):
    state["calls"] += 1
    weights = decode(data)
    return {**weights, NORM: weights[NORM] + state["calls"]}


def raises(data):
    raise RuntimeError("no such file")


def exits(data):
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (spoilt(lambda w: without(w, NORM)), f"1 parameters are missing, the first is {NORM}"),
        (spoilt(lambda w: {**w, "lm_head.weight": w[NORM]}), "lm_head.weight is no parameter"),
        (spoilt(lambda w: {**w, NORM: w[NORM][:-1]}), f"{NORM} has shape"),
        (spoilt(lambda w: {**w, NORM: w[NORM] * math.nan}), "NaN or infinite"),
        (spoilt(lambda w: {**w, NORM: w[NORM].int()}), f"{NORM} is torch.int32"),
        (spoilt(lambda w: {**w, NORM: w[NORM].tolist()}), f"{NORM} is list"),
        (spoilt(lambda w: list(w.values())), "return a dict"),
        (spoilt(lambda w: {**w, NORM: torch.full(w[NORM].shape, 3e38)}), "can't compute"),
        (unsteady, "another model.norm.weight when it is called again"),
        (raises, "raises RuntimeError: no such file"),
        (exits, "raises SystemExit: 3"),
        (spoilt(lambda w: {n: torch.zeros_like(t) for n, t in w.items()}), "No better"),
        (3, "no function"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_rule_is_named_and_earns_nothing(halves, answer, words):
    mark = marked(halves.parent, answer)
    assert mark.points == 0
    assert mark.verdict.kind == "wrong"
    assert words in mark.verdict.message


def test_a_blank_and_a_missing_file_are_told(halves, tmp_path):
    assert marked(halves.parent, lambda data: ...).verdict.kind == "blank"
    assert marked(halves.parent, None).verdict.kind == "blank"
    assert "There is no entry.bin" in marked(tmp_path, decode).verdict.message
    assert "more than the budget" in marked(halves.parent, decode, track=PRACTICE).verdict.message


def test_the_model_is_as_it_was_after_an_entry(halves):
    before = evaluate_entry(halves, decode, ROOMY).perplexity
    zeros = marked(halves.parent, spoilt(lambda w: {n: 0 * t for n, t in w.items()}))
    assert zeros.points == 0
    assert evaluate_entry(halves, decode, ROOMY).perplexity == before


def test_the_board_ranks_entries_and_defuses_their_texts():
    zero, best = CAPSTONE.endpoints()
    entries = [
        {"name": "second", "bytes": 58_000_000, "perplexity": zero - 1},
        {"name": "a | b [c](http://x)<script>", "bytes": 1000, "perplexity": best, "note": "*x*"},
    ]
    text = page(entries)
    lines = [line for line in text.splitlines() if line.startswith("| 1 |")]
    assert len(lines) == 1
    assert "<script>" not in text
    assert "[c](" not in text
    assert lines[0].count(" | ") == 5
    assert "a &#124; b &#91;c&#93;" in lines[0]  # as a browser shows it: what was written
    assert "| 2 | second |" in text
    assert text.index("*our entry*") < text.index("*round to nearest*")


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "x", "bytes": 10},
        {"name": "x", "bytes": 10**9, "perplexity": 50.0},
        {"name": "x", "bytes": 10, "perplexity": math.nan},
        {"name": "x", "bytes": "many", "perplexity": 50.0},
    ],
)
def test_the_board_refuses_what_was_not_measured(entry):
    with pytest.raises(ValueError, match=r"entry"):
        standings([entry])


def test_the_committed_page_is_what_the_results_say():
    committed = Path(__file__).parents[2] / "book" / "capstone.md"
    assert committed.read_text(encoding="utf-8") == page()


def test_the_ends_are_measured_again(bench):
    rows = [row for row in load("capstone")["rows"] if row["model"] == PRACTICE.model]
    again = bench("capstone").ends(PRACTICE)
    for row, found in zip(rows, again, strict=True):
        assert found["perplexity"] == pytest.approx(row["perplexity"], rel=1e-3)
        assert {**found, "perplexity": 0} == {**row, "perplexity": 0}


def test_our_entry_is_within_the_budget_and_far_above_naive_rounding():
    rows = {row["entry"]: row for row in load("capstone")["rows"] if "smollm2" in row["model"]}
    ours = rows["our entry"]
    assert ours["code_bytes"] < ours["bytes"] <= CAPSTONE.budget
    assert share_of_points(ours["perplexity"]) > 0.9
    assert rows["round to nearest"]["bytes"] <= CAPSTONE.budget


def test_our_decoder_gives_what_was_encoded(bench, monkeypatch):
    bench("capstone")
    coder, decoder = bench("_capstone_entry"), bench("_capstone_decode")
    shapes = {"a.weight": (6, 40), "b.norm": (5,), "c.weight": (33, 7)}
    for module in (coder, decoder):
        monkeypatch.setattr(module, "table", lambda: shapes)
    generator = torch.Generator().manual_seed(0)
    matrices = {}
    for name in ("a.weight", "c.weight"):
        rows, columns = shapes[name]
        codes = (4 * torch.randn(rows, columns, generator=generator)).round().to(torch.int16)
        codes[0], codes[1, 2], codes[2, 0] = 0, 300, -32_000  # a row of zeros, and codes far out
        steps = torch.randint(-40, -8, (rows + columns,), generator=generator).float()
        matrices[name] = coder.Matrix(codes, steps[:rows], steps[rows:])
    norms = {"b.norm": torch.randn(5, generator=generator).half()}
    content = coder._file(matrices, norms)
    weights = decoder.decode(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    assert list(weights) == list(shapes)
    assert torch.equal(weights["b.norm"], norms["b.norm"])
    for name, matrix in matrices.items():
        assert torch.equal(weights[name].float(), matrix.floats())

"""``results/choosing.json``: which rows it holds, and some of them measured again."""

import pytest

from qlearn import load_model
from qlearn.measure import results
from qlearn.measure.evaluate import remember
from qlearn.models.pocket.batches import pocket_tokens
from qlearn.models.pocket.tasks import TASKS

FIELDS = {
    "model", "method", "bits", "group_size", "symmetric", "bits_per_weight",
    "model_bits_per_weight", "bytes", "perplexity", "kl_divergence", "top1_agreement",
    "accuracy", "nll", "seconds",
}  # fmt: skip
POCKET = ("pocket-100k", "pocket-400k", "pocket-1m", "pocket-4m")


def rows_of(name):
    """The rows of a model by what they are told apart by."""
    rows = [row for row in results.load("choosing")["rows"] if row["model"] == name]
    found = {(row["method"], row["bits"], row["group_size"]): row for row in rows}
    assert len(found) == len(rows), "each once"
    return found


def test_every_row_has_every_field():
    for row in results.load("choosing")["rows"]:
        assert row.keys() == FIELDS
        pocket = row["model"] in POCKET
        for what in ("accuracy", "nll"):
            assert set(row[what] or ()) == (set(TASKS) if pocket else set())


@pytest.mark.parametrize("name", POCKET)
def test_every_run_of_a_pocket_model_is_there(bench, name):
    wanted = bench("_choosing").pocket_runs(load_model(name))
    assert set(rows_of(name)) == {(run.method, run.bits, run.group_size) for run in wanted}
    assert len(wanted) == (26 if name == "pocket-4m" else 23)


def test_what_the_other_files_lack_of_smollm(bench):
    runs = bench("_choosing").SMOLLM_RUNS
    assert set(rows_of("smollm2-135m")) == {(run.method, run.bits, run.group_size) for run in runs}


def test_sizes_are_the_models_own(bench):
    models = results.load("choosing")["models"]
    assert list(models) == [*POCKET, "smollm2-135m"]
    for name in POCKET:
        assert models[name] == bench("_choosing").sizes(load_model(name))


def test_rows_agree_with_those_of_training():
    """``qat.json`` asked the same questions of the float models and of rounding by rows."""
    same = {"float": ("float32", 32), "rtn": ("rtn", None)}
    checked = 0
    for row in results.load("qat")["rows"]:
        if row["method"] in same:
            method, bits = same[row["method"]]
            ours = rows_of(row["model"])[method, bits or row["bits"], None]
            for task in TASKS:
                assert ours["accuracy"][task] == pytest.approx(row["accuracy"][task], abs=0.01)
                assert ours["nll"][task] == pytest.approx(row["nll"][task], rel=0.02, abs=2e-3)
            checked += 1
    assert checked == 20


@pytest.mark.parametrize("key", [("rtn", 3, 32), ("nf4", 4, 64), ("bfloat16", 16, None)])
def test_the_smallest_model_again(bench, key):
    script, runs = bench("choosing"), bench("_choosing")
    model = load_model("pocket-100k")
    tokens = pocket_tokens(script.POCKET_ROWS, "evaluation")
    again = script.row(
        "pocket-100k", runs.Run(*key), model, remember(model, tokens), tokens,
        pocket_tokens(script.CALIBRATION_ROWS["pocket"]), script.QUESTIONS,
    )  # fmt: skip
    row = rows_of("pocket-100k")[key]
    for name in FIELDS - {"accuracy", "nll", "seconds"}:
        wanted = pytest.approx(row[name], rel=5e-3) if isinstance(row[name], float) else row[name]
        assert again[name] == wanted, name
    for task in TASKS:
        assert again["accuracy"][task] == pytest.approx(row["accuracy"][task], abs=0.01)
        assert again["nll"][task] == pytest.approx(row["nll"][task], rel=0.02, abs=2e-3)


@pytest.mark.model
@pytest.mark.slow
def test_nf4_of_the_real_model_again(bench, smollm, whole_split):
    script, runs = bench("choosing"), bench("_choosing")
    tokens, reference = whole_split
    again = script.row(
        "smollm2-135m", runs.Run("nf4", 4, 64), smollm, reference, tokens, tokens[:0]
    )
    row = rows_of("smollm2-135m")["nf4", 4, 64]
    assert (again["bytes"], again["bits_per_weight"]) == (row["bytes"], row["bits_per_weight"])
    for name in ("perplexity", "kl_divergence", "top1_agreement"):
        assert again[name] == pytest.approx(row[name], rel=2e-3)


def test_several_processes_may_add_rows(bench, monkeypatch, tmp_path):
    runs = bench("_choosing")
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    order, size = ("small", "large"), {"parameters": 2, "linear_weights": 1}

    def keep(model, bits, perplexity):
        row = {"model": model, "method": "rtn", "bits": bits, "group_size": None}
        runs.keep(
            "made",
            {**row, "perplexity": perplexity},
            order,
            "command",
            size,
            kind="quality",
            questions=3,
        )

    keep("large", 4, 9.0)
    keep("small", 4, 8.0)
    keep("small", 3, 7.0)
    keep("large", 4, 6.0)  # in the place of the first
    content = results.load("made")
    found = [(row["model"], row["bits"], row["perplexity"]) for row in content["rows"]]
    assert found == [("small", 4, 8.0), ("small", 3, 7.0), ("large", 4, 6.0)]
    assert list(content["models"]) == ["small", "large"] and content["questions"] == 3
    assert ("small", "rtn", 3, None) in runs.measured("made")
    assert runs.measured("nothing") == set()

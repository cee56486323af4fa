"""Evidence, and the loss that is expected from it."""

import json
import math

import pytest
from choice_cases import EVIDENCE, SEVEN, SMALL, measured, row

from qlearn.course.claims import verdicts
from qlearn.measure import results
from qlearn.measure.choose.evidence import KINDS, Evidence, all_evidence, published
from qlearn.measure.choose.forecast import expected_loss, kv_evidence
from qlearn.measure.memory.architectures import MODELS

MEASURED = measured("choosing")


def test_losses_by_hand():
    assert row(4, 0.0, before=5.47, after=5.60).loss == pytest.approx(0.13 / 5.47, abs=1e-6)
    right = row(4, 0.0, kind="code", before=80.0, after=60.0)
    assert right.loss == 0.25
    # Blind guessing reaches 50: of the 30 above it, 20 are lost.
    guessed = row(4, 0.0, kind="classification", before=80.0, after=60.0, chance=50.0)
    assert guessed.loss == pytest.approx(2 / 3, abs=1e-6)
    assert row(4, -0.1).loss == 0, "what gets better loses nothing"


@pytest.mark.parametrize(
    ("bits", "loss", "method"), [(8, 0.001, "rtn"), (4, 0.02, "awq"), (3, 0.15, "awq")]
)
def test_the_best_method_at_each_width(bits, loss, method):
    found = expected_loss(SEVEN, "text", bits, 128, EVIDENCE)
    assert (found.loss, found.evidence.method) == (pytest.approx(loss), method)
    assert found.times == pytest.approx(7e9 / SEVEN.parameters)


def test_the_nearest_size_stands_in():
    far = [row(4, 0.3, parameters=10_000_000), row(4, 0.2, parameters=100_000_000)]
    near = row(4, 0.1, parameters=2_000_000_000)
    # 2e9 is 3.4 times smaller, 1e8 is 67 times smaller, although both are far off in bytes.
    assert expected_loss(SEVEN, "text", 4, 128, [*far, near]).loss == pytest.approx(0.1)
    assert expected_loss(SEVEN, "text", 4, 128, far).loss == pytest.approx(0.2)
    assert "67.4 times smaller" in str(expected_loss(SEVEN, "text", 4, 128, far))


def test_methods_of_different_models_are_not_compared():
    rows = [row(4, 0.10, "gptq"), row(4, 0.01, "awq", parameters=70_000_000_000, model="big-70b")]
    assert expected_loss(SEVEN, "text", 4, 128, rows).evidence.method == "gptq"


def test_the_very_model_comes_before_its_neighbours():
    rows = [
        row(4, 0.01, parameters=SEVEN.parameters),
        row(4, 0.05, parameters=SEVEN.parameters, model=SEVEN.name),
    ]
    assert expected_loss(SEVEN, "text", 4, 128, rows).evidence.model == SEVEN.name


def test_groups_are_taken_before_none_and_the_closest_of_them():
    none, small, same = (
        row(4, loss, group_size=g) for g, loss in ((None, 0.0), (32, 0.01), (64, 0.02))
    )
    assert expected_loss(SEVEN, "text", 4, 128, [none, small, same]).evidence is same
    assert expected_loss(SEVEN, "text", 4, 128, [none]).evidence is none
    assert expected_loss(SEVEN, "text", 8, None, [row(8, 0.1, group_size=32)]).loss > 0


def test_sixteen_bits_are_the_original():
    nothing = expected_loss(SEVEN, "text", 16, None, EVIDENCE)
    assert nothing.loss == 0 and nothing.evidence is None and "16 bits" in str(nothing)
    own = row(16, 0.002, "bfloat16", None, model=SEVEN.name, parameters=SEVEN.parameters)
    assert expected_loss(SEVEN, "text", 16, None, [own]).evidence is own


def test_a_kind_measured_far_away_is_bounded_by_text():
    sums = row(3, 0.01, kind="arithmetic", parameters=4_000_000)
    text = row(3, 0.15)
    found = expected_loss(SEVEN, "arithmetic", 3, 128, [sums, text])
    assert found.evidence is text and found.weaker is sums
    assert "only far away in size" in str(found)
    # Where the far row loses more, it stays; and near rows are never outweighed.
    worse = row(3, 0.4, kind="arithmetic", parameters=4_000_000)
    assert expected_loss(SEVEN, "arithmetic", 3, 128, [worse, text]).evidence is worse
    near = row(3, 0.01, kind="arithmetic")
    assert expected_loss(SEVEN, "arithmetic", 3, 128, [near, text]).evidence is near


def test_a_kind_without_rows_falls_back_to_text():
    assert expected_loss(SEVEN, "code", 3, 128, EVIDENCE).evidence.kind == "text"
    assert expected_loss(SEVEN, "code", 5, 128, EVIDENCE) is None


def test_an_unknown_kind():
    with pytest.raises(ValueError, match="kind='poems' is not known; choose one of text"):
        expected_loss(SEVEN, "poems", 4, 128, EVIDENCE)


def test_the_cache_is_bounded_from_below():
    rows = [row(4, 0.01, kind="kv"), row(2, 0.1, kind="kv")]
    assert kv_evidence(8, rows).bits == 4
    assert kv_evidence(2, rows).bits == 2
    assert kv_evidence(8, EVIDENCE) is None


def test_published_rows_are_sound():
    rows = published()
    assert len(rows) > 80 and {r.kind for r in rows} <= {*KINDS, "kv"}
    names = [(r.model, r.kind, r.measure, r.method, r.bits, r.group_size) for r in rows]
    assert len(set(names)) == len(names)
    for one in rows:
        assert one.parameters > 0 and one.before > 0 and one.source
        assert "arXiv " in one.source or "https://" in one.source
        assert one.model not in MODELS or one.parameters == MODELS[one.model].parameters


def test_published_figures_that_the_text_quotes():
    rows = {(r.model, r.method, r.bits): r for r in published() if r.kind == "text"}
    assert (rows["opt-125m", "gptq", 4].before, rows["opt-125m", "gptq", 4].after) == (27.65, 31.12)
    assert rows["opt-175b", "gptq", 3].after == 8.68
    assert rows["llama-2-7b", "awq", 4].after == 5.60
    # The largest of the family loses least.
    losses = [rows[f"opt-{size}", "gptq", 4].loss for size in ("125m", "6.7b", "175b")]
    assert losses == sorted(losses, reverse=True)


def test_the_claims_quote_the_same_figures():
    rows = {(r.model, r.method, r.bits): r for r in published() if r.kind == "text"}
    papers = verdicts.published()
    quoted = [(r["model"].lower(), r) for r in papers["gptq"]["perplexity"]]
    for model, figures in [*quoted, ("llama-2-7b", papers["awq"]["llama_2_7b"])]:
        # With reordering is how GPTQ's best figures were made; the evidence holds these.
        best = figures | {f"gptq{b}": figures.get(f"gptq_reordered{b}") for b in (3, 4)}
        for bits in (3, 4):
            for method in {"rtn", "gptq", "awq"} & {key[:-1] for key in figures}:
                expected = best[f"{method}{bits}"] or figures[f"{method}{bits}"]
                row = rows[model, method, bits]
                assert (row.before, row.after) == (figures["float"], expected)


def test_a_damaged_file(tmp_path):
    path = tmp_path / "published_quality.json"
    path.write_text('{"rows": [{}]}')
    with pytest.raises(OSError, match="damaged"):
        published(path)
    path.write_text(json.dumps({"sources": {}, "rows": [{"source": "nobody"}]}))
    with pytest.raises(OSError, match="nobody"):
        published(path)


@pytest.mark.skipif(not MEASURED, reason="results/choosing.json is not measured yet")
def test_what_was_measured_here():
    rows = all_evidence()
    of_smollm = [r for r in rows if r.model == "smollm2-135m" and r.kind == "text"]
    gptq = next(r for r in of_smollm if (r.method, r.bits, r.group_size) == ("gptq", 4, 64))
    stored = next(
        r
        for r in results.load("calibrated")["rows"]
        if (r["method"], r["scheme"]) == ("gptq", "INT4 g64 asym")
    )
    assert gptq.after == stored["perplexity"]
    assert {r.kind for r in rows if r.model == "pocket-4m"} == {
        "text",
        "recall",
        "copying",
        "arithmetic",
    }
    sentiment = [r for r in rows if r.kind == "classification" and r.chance == 0.5]
    assert len(sentiment) == len(results.load("sentiment")["rows"]) - 1
    assert all(math.isfinite(r.loss) and isinstance(r, Evidence) for r in rows)
    # A model is its own nearest neighbour.
    for name in ("pocket-100k", "pocket-4m", "smollm2-135m", "llama-2-70b"):
        found = expected_loss(MODELS[name], "text", 4, 64, rows)
        assert found.evidence.model == name and found.times == 1
    assert SMALL.parameters < SEVEN.parameters

"""The table of recorded levels, what is looked up in it, and the front that no level beats."""

import random

import pytest
from quality_rows import level

from qlearn.measure import results
from qlearn.measure.choose.quality import (
    FLOATS,
    MEASURES,
    SIZES,
    find_level,
    loss_of,
    pareto_front,
    quality_table,
)


def beaten(row, rows, size, loss):
    """Naively: whether another level is no larger and no worse, and better in one of both."""
    mine = getattr(row, size), loss_of(row, loss)
    return any(
        theirs != mine and theirs[0] <= mine[0] and theirs[1] <= mine[1]
        for theirs in ((getattr(other, size), loss_of(other, loss)) for other in rows)
    )


def test_the_front_by_hand():
    small = level(size=1, kl_divergence=0.5)
    middle = level(size=2, kl_divergence=0.7)
    large = level(size=3, kl_divergence=0.2)
    same = level(size=3, kl_divergence=0.2, method="gptq")
    unmeasured = level(size=0, kl_divergence=None)
    assert pareto_front([large, same, middle, unmeasured, small]) == [small, large]
    assert pareto_front([]) == []
    assert pareto_front([unmeasured]) == []


@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_what_no_level_beats(seed):
    chance = random.Random(seed)
    rows = [
        level(size=chance.randint(1, 12), kl_divergence=chance.randint(0, 12) / 10)
        for _ in range(40)
    ]
    front = pareto_front(rows)
    places = {(row.shipped_bytes, row.kl_divergence) for row in front}
    assert len(places) == len(front), "each place once"
    for row in rows:
        on_front = (row.shipped_bytes, row.kl_divergence) in places
        assert on_front is not beaten(row, rows, "shipped_bytes", "kl_divergence")


def test_losses_by_hand():
    row = level(right={"mul": 0.1}, perplexity=12.0, top1_agreement=0.75)
    assert loss_of(row, "perplexity") == 12
    assert loss_of(row, "disagreement") == 0.25
    assert loss_of(row, "mistakes") == pytest.approx(0.1)  # 0.9 of one task in nine
    assert loss_of(row, "mistakes:mul") == pytest.approx(0.9)
    assert loss_of(row, "mistakes:copy") == 0
    assert loss_of(row, "surprise:mul") == pytest.approx(0.9)
    assert loss_of(level(right=None), "mistakes") is None
    assert loss_of(level(right=None), "surprise:mul") is None


@pytest.mark.parametrize("measure", ["accuracy", "mistakes:chess", "perplexity:mul", ""])
def test_unknown_measures_are_refused(measure):
    with pytest.raises(ValueError, match="choose perplexity"):
        loss_of(level(), measure)


def test_unknown_sizes_and_models_are_refused():
    with pytest.raises(ValueError, match="choose one of shipped_bytes"):
        pareto_front([level()], size="weight")
    with pytest.raises(ValueError, match="choose one of pocket-100k"):
        quality_table("llama")


def test_each_level_stands_once():
    rows = quality_table()
    assert len({row.key for row in rows}) == len(rows)
    assert {row.source for row in rows} == {"choosing", "rtn", "calibrated", "libraries", "qat"}
    for row in rows:
        assert row.linear_bytes < row.shipped_bytes <= row.bytes
        measured = [name for name in MEASURES if loss_of(row, name) is not None]
        assert set(measured) >= ({"mistakes", "surprise"} if row.accuracy else {"perplexity"})


def test_bytes_of_the_linear_layers_are_their_bits():
    models = results.load("choosing")["models"]
    for row in quality_table():
        bits = 8 * row.linear_bytes / models[row.model]["linear_weights"]
        assert bits == pytest.approx(row.bits_per_weight, abs=1e-4), row


def test_levels_are_those_of_their_files():
    def recorded(name, **wanted):
        (row,) = [r for r in results.load(name)["rows"] if wanted.items() <= r.items()]
        return row

    model = "smollm2-135m"
    rtn = recorded("rtn", scheme="INT4 g64 asym")
    row = find_level(model, "rtn", 4, 64)
    assert (row.perplexity, row.bytes, row.source) == (rtn["perplexity"], rtn["bytes"], "rtn")
    own = recorded("rtn", scheme="INT4 g64 sym restricted")
    assert find_level(model, "rtn", 4, 64, symmetric=True).perplexity != own["perplexity"]
    gptq = recorded("calibrated", scheme="INT3 per channel asym")
    assert find_level(model, "gptq", 3).kl_divergence == gptq["kl_divergence"]
    ours = recorded("libraries", scheme="INT4 g64 asym", method="awq", tool="qlearn 0.1.0")
    awq = find_level(model, "awq", 4, 64)
    assert (awq.perplexity, awq.bytes) == (ours["perplexity"], rtn["bytes"])
    trained = recorded("qat", model="pocket-400k", method="qat", bits=2, seed=1)
    assert find_level("pocket-400k", "qat", 2).accuracy == trained["accuracy"]
    floats = find_level(model, "float32")
    assert (floats.kl_divergence, floats.bits, floats.bits_per_weight) == (0, 32, 32)


def test_floats_and_codebooks_need_no_group():
    for name, bits in FLOATS.items():
        assert find_level("pocket-100k", name).bits == bits
    row = find_level("pocket-100k", "nf4")
    assert (row.bits, row.group_size, row.symmetric) == (4, 64, None)
    assert row.level == "NF4 b64"
    with pytest.raises(ValueError, match="NF4 b64"):
        find_level("pocket-100k", "nf4", 3)


def test_a_level_that_is_not_recorded():
    with pytest.raises(ValueError, match=r"choose from .*RTN INT4 g64 asym"):
        find_level("smollm2-135m", "rtn", 4, 65)
    with pytest.raises(ValueError, match="choose from float32, "):
        find_level("smollm2-135m", "magic", 4)


@pytest.mark.parametrize("size", SIZES)
def test_recorded_fronts_hold_no_beaten_level(size):
    rows = quality_table("smollm2-135m")
    front = pareto_front(rows, size)
    assert front and not any(beaten(row, rows, size, "kl_divergence") for row in front)
    assert front[-1].method == "float32"

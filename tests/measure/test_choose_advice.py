"""Recommendations: what is chosen, that it is monotonic, and that it says why."""

import re

import pytest
from choice_cases import ALONE, CROWD, EVIDENCE, SEVEN, device, measured, row
from hypothesis import given, settings
from hypothesis import strategies as st

from qlearn.measure.choose.advice import KV_BITS, TASKS, recommend
from qlearn.measure.choose.levels import Speeds, levels_of, measured_speeds, ranked, standard_group
from qlearn.measure.memory.inference import estimate_memory
from qlearn.measure.memory.sizes import Architecture

RECORDED = measured("choosing", "batching")


def choose(gigabytes, model=SEVEN, speeds=ALONE, evidence=EVIDENCE, **more):
    """A recommendation from hand-made evidence, all memory usable."""
    more = {"usable": 1.0, **more}
    return recommend(model, device(gigabytes), evidence=evidence, speeds=speeds, **more)


@pytest.mark.parametrize(
    ("gigabytes", "speeds", "tolerance", "bits", "kv_bits"),
    [
        (80, ALONE, 0.05, 4, 16),  # all fit: 4 bits lose 2% and are the fastest
        (80, ALONE, 0.01, 8, 16),  # 4 bits lose too much
        (80, ALONE, 0.0, 16, 16),  # nothing may be lost
        (80, CROWD, 0.05, 16, 16),  # many at once: 16 bits are the fastest
        (15, CROWD, 0.05, 16, 8),  # 13.5 of weights; the cache of 2.1 must shrink
        (14.5, CROWD, 0.05, 16, 4),
        (10, CROWD, 0.05, 8, 16),  # 7.0 and 2.1
        (7, ALONE, 0.05, 4, 16),  # 3.9 and 2.1
        (5.2, ALONE, 0.05, 4, 8),
        (4.6, ALONE, 0.05, 4, 4),
        (4.2, ALONE, 0.05, 3, 4),  # over the tolerance, but the best that fits
    ],
)
def test_what_is_chosen(gigabytes, speeds, tolerance, bits, kv_bits):
    found = choose(gigabytes, speeds=speeds, tolerance=tolerance)
    assert (found.bits, found.kv_bits) == (bits, kv_bits)
    assert found.memory.total <= gigabytes * 1e9
    assert len(found.alternatives) == 4 and found.bits not in {a.bits for a in found.alternatives}


def test_the_method_and_its_group_come_from_the_evidence():
    found = choose(80)
    assert (found.method, found.group_size) == ("awq", 128)
    assert found.expected_loss.loss == pytest.approx(0.02)
    coarse = choose(80, evidence=[row(4, 0.01, "gptq", 64)])
    assert (coarse.method, coarse.group_size) == ("gptq", 64)
    nf4 = choose(80, evidence=[row(4, 0.01, "nf4", 64)])
    assert nf4.level.bits_per_weight == 4.5
    narrow = Architecture("narrow-1b", 16, 2080, 5664, 32, 32)  # 32 divides, 128 does not
    assert standard_group(narrow) == 32
    assert choose(80, narrow).group_size == 32


def test_what_is_useless_is_not_offered():
    assert [level.bits for level in ranked(levels_of(SEVEN, "text", EVIDENCE, ALONE), 0.05)] == [
        4, 8, 16, 3,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="at 3 bits"):
        choose(3)  # 2 bits would fit, but lose three quarters


@settings(max_examples=60, deadline=None)
@given(
    memory=st.floats(4.2, 60), more=st.floats(1.0, 4.0),
    context=st.integers(1, 20_000), longer=st.integers(1, 8),
    tolerance=st.sampled_from([0.0, 0.01, 0.05, 0.2]), batch=st.sampled_from([1, 4]),
    speeds=st.sampled_from([ALONE, CROWD]),
)  # fmt: skip
def test_more_memory_never_gives_fewer_bits_nor_a_longer_context_more(
    memory, more, context, longer, tolerance, batch, speeds
):
    def bits(gigabytes, tokens):
        asked = {"context": tokens, "tolerance": tolerance, "batch": batch, "speeds": speeds}
        try:
            return choose(gigabytes, **asked).bits
        except ValueError as error:
            if "does not fit" not in str(error):
                raise
            return 0

    here = bits(memory, context)
    assert bits(memory * more, context) >= here
    assert bits(memory, context * longer) <= here


@pytest.mark.parametrize("losses", [(0.0, 0.02, 0.15), (0.01, 0.2, 0.05), (0.3, 0.1, 0.2)])
def test_monotonic_even_where_the_evidence_is_not(losses):
    """Rows of different models need not lose more at fewer bits."""
    evidence = [row(bits, loss) for bits, loss in zip((8, 4, 3), losses, strict=True)]
    chosen = [choose(size, evidence=evidence).level.bits_per_weight for size in (5, 6, 8, 12, 30)]
    assert chosen == sorted(chosen)


def test_the_reasons_name_figures_and_evidence():
    found = choose(5.2, task="chat")
    memory, loss, speed, cache = found.reasons
    whole = estimate_memory(SEVEN, found.level.bits_per_weight, kv_bits=8.5)
    assert f"{whole.total / 1e9:.2f} GB" in memory and "qlearn.measure.memory" in memory
    assert "2.0% expected" in loss and "a test" in loss and "within the 5%" in loss
    assert "8 bits 2.00, 4 bits 4.00" in speed and "a test at 1 token" in speed
    assert "in 16 bits all would take" in cache
    why = {one.bits: one.why for one in found.alternatives}
    assert "needs" in why[16] and "needs" in why[8]
    assert why[3].startswith("fits, but loses 15.0%") and "of no use" in why[2]
    roomy = {one.bits: one.why for one in choose(80).alternatives}
    assert "slower" in roomy[16] and "slower" in roomy[8]
    assert "more than the 5% allowed" in choose(4.2).reasons[1]


def test_it_shows_itself():
    found = choose(12)
    assert repr(found).startswith(
        "seven-7b on card-12 for chat, 4,096 tokens, batch 1: 4 bits (AWQ"
    )
    assert repr(found).count("\n- ") == len(found.reasons) + len(found.alternatives)
    html = found._repr_html_()
    assert html.count("<tr>") == 1 + 5 and '<th scope="col">GB</th>' in html
    odd = choose(12, Architecture("<b>&", 32, 4096, 11_008, 32, 32))
    assert "<b>&" not in odd._repr_html_() and "&lt;b&gt;&amp;" in odd._repr_html_()


def test_nothing_fits():
    with pytest.raises(ValueError, match="does not fit") as caught:
        recommend("llama-2-70b", device(12), evidence=EVIDENCE, speeds=ALONE)
    said = str(caught.value)
    assert "take llama-2-13b, which fits at 4 bits, or a device with" in said
    needed = float(re.search(r"a device with ([\d.]+) GB", said)[1])
    assert (
        recommend("llama-2-70b", device(needed + 0.01), evidence=EVIDENCE, speeds=ALONE).bits == 3
    )
    with pytest.raises(ValueError, match="does not fit"):
        recommend("llama-2-70b", device(needed - 0.1), evidence=EVIDENCE, speeds=ALONE)
    with pytest.raises(ValueError, match="shorter context or a smaller batch"):
        choose(5, context=1_000_000)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task": "poems"}, "task='poems' is not known; choose one of chat"),
        ({"model": "llama-2-8b"}, "model='llama-2-8b' is not in the catalogue"),
        ({"device": "abacus"}, "device='abacus' is not in the catalogue"),
        ({"batch": 0}, "batch=0"),
        ({"batch": True}, "batch=True"),
        ({"context": 0}, "context=0"),
        ({"tolerance": -0.1}, "tolerance=-0.1 is no share"),
        ({"tolerance": 5}, "tolerance=5 is no share"),
        ({"usable": 0.0}, "usable=0.0 is no share"),
        ({"usable": "all"}, "usable='all' is no share"),
    ],
)
def test_bad_input(change, said):
    asked = {"model": "llama-2-7b", "device": "rtx-3060", "evidence": EVIDENCE, "speeds": ALONE}
    with pytest.raises(ValueError, match=re.escape(said)):
        recommend(**{**asked, **change})


def test_speeds_are_taken_at_the_nearest_batch():
    rows = [
        {"what": what, "precision": name, "tokens": tokens, "tokens_per_second": tokens * speed}
        for what in ("layer", "model")
        for tokens in (1, 32, 512)
        for name, speed in (("FP32", 1.0), ("BF16", 2.0), ("INT8", 3.0), ("INT4", 4.0))
    ]
    alone, crowd = measured_speeds(1, rows), measured_speeds(100, rows)
    assert (alone.tokens, crowd.tokens, measured_speeds(5000, rows).tokens) == (1, 32, 512)
    assert [alone.of(bits) for bits in (16, 8, 4, 3, 2)] == [2.0, 3.0, 4.0, 4.0, 4.0]
    assert Speeds({16: 1.0}, 1, "").of(4) is None
    with pytest.raises(ValueError, match="no layer in INT4 at 32 tokens"):
        measured_speeds(32, [r for r in rows if r["precision"] != "INT4"])
    with pytest.raises(ValueError, match="rows hold no layer"):
        measured_speeds(1, [])


def test_every_task_has_its_kind():
    for task in TASKS:
        assert choose(80, task=task).task == task
    assert list(KV_BITS) == sorted(KV_BITS, reverse=True)


@pytest.mark.skipif(not RECORDED, reason="choosing.json and batching.json are not measured yet")
def test_with_what_was_measured():
    found = recommend("llama-2-7b", "rtx-3060")
    assert found.bits < 16 and found.expected_loss.evidence.model == "llama-2-7b"
    with pytest.raises(ValueError, match="llama-2-13b"):
        recommend("llama-2-70b", "rtx-3060")
    for task in TASKS:
        assert recommend("smollm2-135m", "binder", task, tolerance=0.0).expected_loss.loss == 0

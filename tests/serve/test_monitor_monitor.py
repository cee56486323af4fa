"""A canary finds planted faults within a few prompts, and is quiet on a healthy model."""

import importlib
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from qlearn import load_model
from qlearn.measure.evaluate import compare
from qlearn.models.pocket.batches import pocket_tokens
from qlearn.models.pocket.questions import answer_questions
from qlearn.models.pocket.tasks import make_questions
from qlearn.serve.monitor.misses import design_misses
from qlearn.serve.monitor.monitor import (
    Monitor,
    load_canary,
    make_baseline,
    make_canary,
    make_monitor,
    question_canary,
)
from qlearn.serve.monitor.text import TextCanary, asker, generation_canary

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
PROMPTS = 1000


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module("monitor")


@pytest.fixture(scope="module")
def original():
    return load_model("pocket-400k")


@pytest.fixture(scope="module")
def canary(original):
    return question_canary(original, PROMPTS)


@pytest.fixture(scope="module")
def run(bench, canary):
    return canary.check(bench.served())


@pytest.fixture(scope="module")
def paired(bench, canary, run):
    """Knows a rerun in float16, and nothing of bfloat16."""
    return make_monitor(run, [canary.check(bench.served(dtype=torch.float16))])


@pytest.fixture(scope="module")
def unpaired(run):
    return make_monitor(run)


def first_alarm(monitor, result):
    """Prompts until the first alarm of any chart; ``None`` without one."""
    monitor.restart()
    monitor.see(result)
    return min((alarm.prompt for alarm in monitor.alarms), default=None)


def test_equals_compare_where_all_is_remembered(bench, original):
    tokens = pocket_tokens(30, "evaluation")
    model = bench.served(3)
    result = make_canary(original, tokens).check(model)
    expected = compare(model, original, tokens)
    assert float(result.kl.mean()) == pytest.approx(expected.kl_divergence, rel=1e-4)
    assert float(result.agreement.mean()) == pytest.approx(expected.top1_agreement, abs=1e-9)
    assert float(result.surprise.mean().exp()) == pytest.approx(expected.perplexity, rel=1e-5)
    assert result.exact is None


def test_merged_classes_are_a_lower_bound(bench, original):
    tokens = pocket_tokens(20, "evaluation")
    model = bench.served(2)
    found = [make_canary(original, tokens, top=top).check(model) for top in (1, 4, 16, 47)]
    for coarse, fine in pairwise(found):
        assert (coarse.kl <= fine.kl + 1e-9).all()
        assert torch.equal(coarse.agreement, fine.agreement)
    assert found[0].kl.mean() < 0.9 * found[-1].kl.mean()  # and not the same number
    assert found[2].kl.mean() > 0.95 * found[-1].kl.mean()  # sixteen of 47 show most of it
    again = make_canary(original, tokens, top=1).check(original)
    assert float(again.kl.abs().max()) < 1e-6


def test_answers_are_those_of_the_questions(bench, original):
    model = bench.served(2)
    questions = make_questions("add3", 40)
    expected, _ = answer_questions(model, questions)
    result = question_canary(original, 40, ["add3"]).check(model)
    assert 0 < float(result.exact.mean()) < 1
    assert float(result.exact.mean()) == pytest.approx(float(expected.float().mean()))


def test_parts_of_a_canary(bench, original):
    canary = question_canary(original, 60)
    model = bench.served()
    whole, part = canary.check(model), canary.check(model, slice(20, 40))
    assert part.first == whole[20:40].first == 20
    assert len(part) == 20
    for own, other in zip(
        (part.kl, part.surprise, part.exact),
        (whole[20:40].kl, whole[20:40].surprise, whole[20:40].exact),
        strict=True,
    ):
        assert torch.allclose(own, other, atol=1e-5)
    assert question_canary(original, 60, seed=1).fingerprint != canary.fingerprint


def test_a_file_holds_all_of_it(bench, original, tmp_path):
    canary = question_canary(original, 10)
    loaded = load_canary(canary.save(tmp_path / "canary.safetensors"))
    assert loaded.fingerprint == canary.fingerprint
    own, other = loaded.check(original), canary.check(original)
    assert torch.equal(own.kl, other.kl)
    assert torch.equal(own.exact, other.exact)
    with pytest.raises(OSError, match="No such file"):
        load_canary(tmp_path / "other.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no canary at all")
    with pytest.raises(OSError, match="holds no canary"):
        load_canary(tmp_path / "bad.safetensors")
    with pytest.raises(OSError, match="canary"):
        canary.save(tmp_path / "missing" / "canary.safetensors")


# Prompts by which each fault must be found: paired, unpaired, and by the answers alone.
WITHIN = {
    "2 bits": (3, 20, 50),
    "3 bits": (5, 40, 500),
    "layer damaged": (3, 25, 500),
    "tokenizer changed": (3, 20, 20),
}


@pytest.mark.parametrize("fault", WITHIN)
def test_each_fault_is_found(bench, canary, paired, unpaired, fault):
    result = canary.check(bench.FAULTS[fault]())
    *divergence, answers = WITHIN[fault]
    for monitor, within in zip((paired, unpaired), divergence, strict=True):
        found = bench.delays(monitor, result, starts=20)
        assert len(found["kl"]) == len(found["answers"]) == 20, "not found from every start"
        assert max(found["kl"]) <= within
        assert max(found["answers"]) <= answers


def test_no_fault_was_left_out(bench):
    assert WITHIN.keys() == bench.FAULTS.keys()


@pytest.mark.parametrize("variant", ["float32", "bfloat16"])
def test_a_healthy_model_raises_no_alarm(bench, canary, paired, unpaired, variant):
    model = bench.HEALTHY[variant]()
    result = canary.check(model)
    assert len(result) == PROMPTS
    assert first_alarm(paired, result) is None
    assert first_alarm(unpaired, result) is None


def test_new_prompts_raise_no_alarm_and_no_false_ones_beyond_the_promise(bench, original, unpaired):
    """Thresholds of one thousand prompts, tried on another thousand and on draws from them."""
    result = question_canary(original, PROMPTS, seed=1).check(bench.served())
    assert first_alarm(unpaired, result) is None
    chart = unpaired.charts["kl"]
    values = unpaired.baselines["kl"].standardize(result)
    alarms = bench.simulate(values, chart.allowance, chart.threshold, charts=500, steps=1000)
    assert alarms <= 500 * 1000 / 20_000  # half of the promise: the answers have the other half


def test_delays_are_near_the_predicted(unpaired):
    """A known drift, planted into real healthy prompts in many orders."""
    chart, sample = unpaired.charts["kl"], unpaired.baselines["kl"].sample
    shift = unpaired.baselines["kl"].worth
    found = []
    for seed in range(200):
        order = torch.randperm(len(sample), generator=torch.Generator().manual_seed(seed))
        chart.restart()
        for prompt, value in enumerate((sample[order] + shift).tolist(), 1):
            if chart.update(value):
                found.append(prompt)
                break
    assert len(found) == 200
    chart.restart()
    assert sum(found) / 200 == pytest.approx(chart.detection_delay(shift), rel=0.1)


def test_pairing_finds_it_sooner(paired, unpaired):
    own, other = (
        m.charts["kl"].detection_delay(m.baselines["kl"].worth) for m in (paired, unpaired)
    )
    assert own < other / 5


def test_what_an_alarm_says_and_that_it_is_raised_once(run, paired):
    paired.restart()
    far = type(run)(run.kl * 100, run.surprise, run.agreement, run.exact, run.first, run.canary)
    (alarm,) = paired.see(far[:30])
    assert (alarm.chart, alarm.prompt) == ("kl", 2)
    assert alarm.height > alarm.threshold
    assert str(alarm) == f"kl: {alarm.height:.1f} is above {alarm.threshold:.1f} after 2 prompts"
    assert paired.see(far[30:60]) == []
    assert paired.charts["kl"].height > alarm.height  # it stays up for Prometheus to see
    paired.restart()
    assert paired.see(run[:30]) == []
    assert (paired.prompts, paired.alarms) == (30, [])


def test_a_model_of_nan_is_a_fault(bench, canary, paired):
    model = bench.served()
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    result = canary.check(model, slice(0, 5))
    assert result.kl.isinf().all()
    assert not result.exact.any()
    assert first_alarm(paired, result) == 2


def test_surprise_alone_finds_a_fault(bench, canary, run):
    """For a server that shows the log-probabilities of the prompt's tokens and no others."""
    rerun = canary.check(bench.served(dtype=torch.float16))
    monitor = make_monitor(run, [rerun], measures=["surprise"])
    assert set(monitor.charts) == {"surprise", "answers"}
    assert first_alarm(monitor, run) is None
    assert first_alarm(monitor, canary.check(bench.served(2), slice(0, 50))) <= 10


def answer(prompt):
    return 42


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, c, r: c.check(m, slice(7, 7)), "takes none of the 8 prompts"),
        (lambda m, c, r: c.check(m, slice(0, 8, 2)), "not neighbours"),
        (lambda m, c, r: r[9:], "takes none of 8"),
        (lambda m, c, r: make_canary(m, c.tokens, c.counted[:, 1:]), "counted is torch.bool"),
        (lambda m, c, r: make_canary(m, c.tokens, c.counted.long()), "counted is torch.int64"),
        (lambda m, c, r: make_canary(m, c.tokens, c.counted & False), "leaves a prompt without"),
        (lambda m, c, r: make_canary(m, c.tokens, top=0), "top=0"),
        (lambda m, c, r: make_canary(m, c.tokens.float()), "dtype torch.float32"),
        (lambda m, c, r: question_canary(m, 0), "count=0"),
        (lambda m, c, r: question_canary(m, 8, []), "tasks is empty"),
        (lambda m, c, r: question_canary(m, 8, ["sums"]), "task='sums' is unknown"),
        (lambda m, c, r: make_baseline(r, measure="cosine"), "measure='cosine'"),
        (lambda m, c, r: make_baseline(r, [r[:4]]), "reruns are not of the prompts"),
        (lambda m, c, r: make_baseline(r, [r]).standardize(c.check(m)[4:]), None),
        (lambda m, c, r: make_baseline(r[:4], [r[:4]]).standardize(r), "the baseline knows 0 to 3"),
        (lambda m, c, r: make_monitor(r), "sample has shape"),
        (lambda m, c, r: make_monitor(r, measures="kl"), "measures='kl'"),
        (lambda m, c, r: make_monitor(r, one_false_alarm_in=0), "one_false_alarm_in=0"),
        (lambda m, c, r: TextCanary(("a",), ()), "prompts holds 1 texts"),
        (lambda m, c, r: TextCanary(("",), ("b",)), "empty text"),
        (lambda m, c, r: TextCanary(("a",), ("b",)).check(answer), "ask returned int"),
        (lambda m, c, r: TextCanary(("a",), ("b",)).check(str, slice(3, 4)), "takes none"),
        (lambda m, c, r: asker(torch.nn.Linear(2, 2), None), "generates no text"),
        (lambda m, c, r: generation_canary(m, None, ["a"], 0), "new_tokens=0"),
    ],
)
def test_bad_input(small, call, message):
    if message is None:  # the one that is no mistake: neighbours from the middle
        assert call(*small).tolist() == [0, 0, 0, 0]
        return
    with pytest.raises(ValueError, match=message):
        call(*small)


@pytest.fixture(scope="module")
def small():
    model = load_model("pocket-100k")
    canary = question_canary(model, 8)
    return model, canary, canary.check(model)


def test_another_vocabulary_and_results_without_answers(small, tiny_llama):
    model, canary, _ = small
    with pytest.raises(ValueError, match="128 classes, the canary's original 47"):
        canary.check(tiny_llama)
    plain = make_canary(model, canary.tokens, canary.counted).check(model)
    watching = Monitor({"answers": design_misses(0.01, 0.1)}, {})
    with pytest.raises(ValueError, match="result has no answers"):
        watching.see(plain)
    assert watching.prompts == 0

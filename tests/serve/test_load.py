"""Load, its figures and the versions: without a server."""

import threading
import time
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlearn.serve.client import Reply
from qlearn.serve.load import Timing, arrivals, closed_loop, open_loop
from qlearn.serve.monitor.alerts.prometheus import faster
from qlearn.serve.monitor.alerts.rules import alert_rules
from qlearn.serve.summary import percentile, summarize
from qlearn.serve.versions import FILE, Versions, digests


def reply(sent=0.0, pieces=(0.5, 0.75), ended=1.0, tokens=2):
    return Reply("ab", 3, tokens, sent, pieces, ended)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.integers(1, 100))
def test_percentiles_are_numpys(values, hundredths):
    expected = np.percentile(values, hundredths, method="inverted_cdf")
    rank = hundredths * len(values) / 100
    if abs(rank - round(rank)) < 1e-9:  # numpy's own rounding decides there; the definition here
        expected = sorted(values)[max(0, round(rank) - 1)]
    assert percentile(values, hundredths / 100) == expected


def test_arrivals_are_a_poisson_process():
    gaps = np.diff([0.0, *arrivals(20.0, 20_000)])
    assert fmean(gaps) == pytest.approx(1 / 20, rel=0.03)
    assert np.std(gaps) == pytest.approx(1 / 20, rel=0.03)  # exponential: deviation is the mean
    assert arrivals(1.0, 5, seed=1) != arrivals(1.0, 5)


class Crowd:
    """Answers when so many are there at once; counts the most that were."""

    def __init__(self, size):
        self.barrier = threading.Barrier(size)
        self.lock, self.now, self.most, self.asked = threading.Lock(), 0, 0, []

    def __call__(self, prompt):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.asked.append(prompt)
        self.barrier.wait(300)
        with self.lock:
            self.now -= 1
        at = time.perf_counter()
        return reply(at, (at,), at, 1)


@pytest.mark.parametrize("clients", [1, 2, 4])
def test_a_closed_loop_keeps_so_many_busy(clients):
    crowd = Crowd(clients)
    timings = closed_loop(crowd, [str(place) for place in range(4 * clients)], clients)
    assert crowd.most == clients
    assert sorted(crowd.asked, key=int) == [str(place) for place in range(4 * clients)]
    assert len(timings) == 4 * clients


def test_an_open_loop_waits_for_nobody():
    crowd = Crowd(6)  # nobody is answered before the sixth is there
    timings = open_loop(crowd, list("abcdef"), rate=200.0)
    assert crowd.most == 6
    gaps = np.diff([timing.due for timing in timings])
    assert gaps == pytest.approx(np.diff(arrivals(200.0, 6)))
    assert all(timing.seconds > 0 for timing in timings)


def test_failures_are_counted_and_the_rest_measured():
    def send(prompt):
        if prompt == "bad":
            raise OSError("broke off")
        at = time.perf_counter()
        return reply(at, (at,), at, 4)

    timings = closed_loop(send, ["good", "bad", "good"], 1)
    assert [timing.error for timing in timings] == ["", "broke off", ""]
    found = summarize(timings)
    assert (found.requests, found.failures, found.tokens) == (2, 1, 8)
    with pytest.raises(ValueError, match="broke off"):
        summarize(timings[1:2])


def test_a_summary_by_hand():
    timings = [
        Timing(0.0, 1.0, reply()),
        Timing(0.25, 3.0, reply(1.0, (2.0, 2.5, 2.75), 3.0, 3)),
    ]
    found = summarize(timings)
    assert found.seconds == 3.0
    assert found.tokens_per_second == 5 / 3
    assert found.latency == {0.5: 1.0, 0.95: 2.75, 0.99: 2.75}
    assert found.first_token == {0.5: 0.5, 0.95: 1.75, 0.99: 1.75}  # from when it came, not sent
    assert found.gap == {0.5: 0.25, 0.95: 0.5, 0.99: 0.5}
    assert found.mean_latency == 1.875
    assert found.row()["first_token_p95_ms"] == 1750


def version(root, name):
    (root / name).mkdir()
    (root / name / "config.json").write_text(f'{{"name": "{name}"}}')
    return root / name


def test_versions_switch_and_roll_back(tmp_path):
    one, two, three = (version(tmp_path, name) for name in ("one", "two", "three"))
    versions = Versions(tmp_path)
    with pytest.raises(FileNotFoundError, match="no version"):
        _ = versions.current
    assert versions.switch("one") == versions.current == one
    versions.switch("two")
    assert versions.switch("three") == three
    assert versions.roll_back() == two
    assert versions.history == ["one", "two"]
    versions.switch("two")
    assert versions.roll_back() == one, "released twice, it is no better"
    with pytest.raises(FileNotFoundError, match="no earlier"):
        versions.roll_back()
    assert versions.current == one
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "three", "two", FILE]


def test_a_release_is_checked_first(tmp_path):
    one, two = version(tmp_path, "one"), version(tmp_path, "two")
    versions = Versions(tmp_path)
    versions.switch("one")
    assert versions.release("two", lambda folder: [f"{folder.name} is wrong"]) == ["two is wrong"]
    assert versions.current == one
    assert versions.release("two", lambda folder: []) == []
    assert versions.current == two
    assert digests(one) != digests(two)


def test_versions_that_are_not_there(tmp_path):
    with pytest.raises(OSError, match="not a folder"):
        Versions(tmp_path / "nothing")
    version(tmp_path, "one")
    with pytest.raises(FileNotFoundError, match="known: one"):
        Versions(tmp_path).switch("two")
    (tmp_path / FILE).write_text("{")
    with pytest.raises(OSError, match="damaged"):
        _ = Versions(tmp_path).history


def test_rules_become_faster_in_every_time():
    slow, fast = alert_rules({"kl": 4.0}, 0.005), faster(alert_rules({"kl": 4.0}, 0.005), 60)
    by_name = {rule.name: rule for rule in fast}
    assert "[5000ms]" in by_name["QlearnSlow"].expression
    assert by_name["QlearnSlow"].wait == "5000ms"
    assert by_name["QlearnCanarySilent"].wait == "1000ms"
    assert by_name["QlearnCanaryDivergence"] == slow[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: percentile([], 0.5), "values is empty"),
        (lambda: percentile([1], 95), "share=95"),
        (lambda: arrivals(0, 3), "rate=0"),
        (lambda: closed_loop(reply, [], 1), "prompts"),
        (lambda: closed_loop(reply, "text", 1), "prompts"),
        (lambda: closed_loop(reply, ["a"], 0), "clients=0"),
        (lambda: open_loop(reply, ["a"], -1.0), "rate=-1.0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()

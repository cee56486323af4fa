"""A real server, a real Prometheus: text as the model's own, faults that fire, a roll-back."""

import signal

import pytest
import torch
from needs import require

from qlearn import load_model, load_tokenizer
from qlearn.checkpoints.load import load_quantized
from qlearn.course.chapters.ch13 import FAULTS, save_faults, save_healthy
from qlearn.models.layers.copies import dequantize_model
from qlearn.serve.client import complete
from qlearn.serve.load import closed_loop, open_loop
from qlearn.serve.monitor.alerts.prometheus import Prometheus, faster
from qlearn.serve.monitor.alerts.rules import alert_rules
from qlearn.serve.monitor.metrics import Metrics
from qlearn.serve.monitor.monitor import make_monitor, question_canary
from qlearn.serve.monitor.served import Renumbered, numbering, served_canary
from qlearn.serve.monitor.text import asker
from qlearn.serve.monitor.watch import Watch
from qlearn.serve.server import Server
from qlearn.serve.summary import summarize
from qlearn.serve.versions import Versions, digests

MODEL = "pocket-100k"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    healthy = save_healthy(MODEL, tmp_path_factory.mktemp("versions"))
    return [healthy, *save_faults(MODEL, healthy)]


@pytest.fixture(scope="module")
def canary():
    return question_canary(load_model(MODEL), 64, ["copy", "reverse", "agree", "add2"])


@pytest.fixture(scope="module")
def monitor(canary, folders):
    run = canary.check(load_model(folders[0]))
    again = dequantize_model(load_quantized(folders[0])).to(torch.bfloat16)
    return make_monitor(run, [canary.check(again)])


@pytest.fixture(scope="module")
def server():
    with Server(threads=1, patience=1200) as running:
        yield running


def test_prompts_and_answers_as_text(canary):
    served = served_canary(canary, load_tokenizer(MODEL))
    tokenizer = load_tokenizer(MODEL)
    for row in range(8):
        text = served.text.prompts[row] + served.text.expected[row]
        ids = torch.tensor(tokenizer(text)["input_ids"])
        assert torch.equal(ids, canary.tokens[row, : len(ids)])
    with pytest.raises(ValueError, match="several places"):
        served_canary(question_canary(load_model(MODEL), 2, ["recall"]), load_tokenizer(MODEL))


def test_text_answers_are_those_of_the_logits(canary, folders):
    model, tokenizer = load_model(folders[0]), load_tokenizer(folders[0])
    text = served_canary(canary, tokenizer).text.check(asker(model, tokenizer, 8))
    assert torch.equal(text.exact, canary.check(model).exact)


def test_a_permuted_model_behind_its_own_tokenizer_is_the_same(canary):
    """Rows of the embedding in another order, and numbers in the same: nothing has changed."""
    model = load_model(MODEL)
    plain = canary.check(model)
    order = torch.randperm(canary.classes, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        weight = model.get_input_embeddings().weight
        weight[order] = weight.clone()
    again = canary.check(Renumbered(model, order))
    assert torch.allclose(plain.kl, again.kl, atol=1e-6)
    assert torch.equal(plain.exact, again.exact)
    assert canary.check(model).exact.mean() < 0.1


def test_numbering_is_what_the_tokenizers_say(folders):
    own, changed = load_tokenizer(MODEL), load_tokenizer(folders[-1])
    theirs = numbering(own, changed, 47)
    assert sorted(theirs.tolist()) == list(range(47))
    assert (theirs != torch.arange(47)).sum() > 40
    text = "\n12+34="
    assert theirs[own(text)["input_ids"]].tolist() == changed(text)["input_ids"]


def test_each_fault_is_found_and_the_healthy_version_is_not(canary, monitor, folders):
    tokenizer = load_tokenizer(MODEL)
    found = {}
    for folder in folders:
        theirs = numbering(tokenizer, load_tokenizer(folder), canary.classes)
        result = canary.check(Renumbered(load_model(folder), theirs))
        found[folder.name] = [alarm.chart for alarm in monitor.fresh().see(result)]
    assert found.pop(folders[0].name) == []
    assert found.keys() == FAULTS.keys()
    assert all("kl" in charts for charts in found.values())


def test_the_weights_alone_do_not_show_a_changed_tokenizer(canary, monitor, folders):
    assert digests(folders[0])["model.safetensors"] == digests(folders[3])["model.safetensors"]
    assert not monitor.fresh().see(canary.check(load_model(folders[3])))


@pytest.mark.slow
def test_the_server_streams_what_the_model_says(server, canary, folders):
    model, tokenizer = load_model(folders[0]), load_tokenizer(folders[0])
    ask = asker(model, tokenizer, 5)
    for prompt in served_canary(canary, tokenizer).text.prompts[:6]:
        reply = complete(server.address, folders[0], prompt, 5)
        assert reply.text == ask(prompt)
        assert reply.read == len(tokenizer(prompt)["input_ids"])
        assert reply.generated <= 5
        assert len(reply.pieces) == len(reply.gaps) + 1
        assert reply.sent < reply.pieces[0] <= reply.pieces[-1] <= reply.ended
    assert server.memory() > 1e8


@pytest.mark.slow
def test_load_counts_every_request(server, folders):
    def send(prompt):
        return complete(server.address, folders[0], prompt, 3)

    for timings in (
        closed_loop(send, ["\n12+34="] * 6, 3),
        open_loop(send, ["\n12+34="] * 6, rate=50.0),
    ):
        found = summarize(timings)
        assert (found.requests, found.failures, found.tokens) == (6, 0, 18)


@pytest.mark.slow
def test_what_is_not_there_is_an_error(server, folders):
    with pytest.raises(OSError, match="answered 5"):
        complete(server.address, folders[0].parent / "nothing", "a")
    with pytest.raises(OSError, match="answered 422"):
        connection_with_a_field_too_many(server, folders[0])


def connection_with_a_field_too_many(server, folder):
    import http.client
    import json

    connection = http.client.HTTPConnection(*server.address)
    body = json.dumps({"model": str(folder), "prompt": "a", "nonsense": 1})
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    raise OSError(f"answered {response.status}")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no such signal on Windows")
def test_a_paused_server_answers_afterwards(server, folders):
    with server.paused(), pytest.raises(OSError, match="timed out"):
        complete(server.address, folders[0], "\n1", 1, timeout=0.5)
    assert complete(server.address, folders[0], "\n12+34=", 3).generated == 3


@pytest.mark.slow
def test_faults_behind_the_endpoint_fire_in_prometheus(server, canary, monitor, folders):
    require("prometheus")
    versions = Versions(folders[0].parent)
    versions.switch(folders[0].name)
    metrics = Metrics(memory=server.memory)
    served = served_canary(canary, load_tokenizer(MODEL))
    watch = Watch(server.address, versions, served, monitor.fresh(), metrics, size=16)
    assert not watch.turn()
    thresholds = {name: chart.threshold for name, chart in monitor.charts.items()}
    rules = faster(alert_rules(thresholds, 0.005), 60)
    with metrics.exported() as target, Prometheus(rules, target) as prometheus:
        assert not watch.turn()
        (height,) = prometheus.query('qlearn_chart_height{chart="kl"}')
        assert float(height["value"][1]) == watch.monitor.charts["kl"].height
        assert not prometheus.ever_fired()
        for fault in FAULTS:
            assert versions.release(fault, watch.complaints), "the release is refused"
            versions.switch(fault)
            assert "kl" in [alarm.chart for alarm in watch.turn()]
            assert prometheus.wait_for("QlearnCanaryDivergence") is not None
            assert watch.roll_back() == folders[0]
            assert not watch.turn()
            assert prometheus.wait_for("QlearnCanaryDivergence", firing=False) is not None
        assert prometheus.ever_fired() <= {"QlearnCanaryDivergence", "QlearnCanaryAnswers"}


def test_a_server_that_ends_at_once_says_why(monkeypatch):
    monkeypatch.setattr("qlearn.serve.server.find_spec", lambda name: object())
    with pytest.raises(OSError, match=r"(?s)ended with.*No such option|ended with"):
        Server(("--no-such-option",))


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr("qlearn.serve.server.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="fastapi, openai, uvicorn"):
        Server()

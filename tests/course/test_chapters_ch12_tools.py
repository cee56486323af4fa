"""A tool that fails costs the tools table one row's figures and no more."""

import json
import textwrap

import numpy as np
import pytest

BEHAVES = """
    def make(row, model, calibration, folder):
        (folder / "weights").write_bytes(bytes(1000))

    class Loaded:
        def logits(self, tokens):
            return 5 * np.eye(50, dtype=np.float32)[(tokens + 1) % 50]

        def decoder(self, prompt):
            newest = prompt[:, -1]

            def step():
                nonlocal newest
                newest = (newest + 1) % 50
                return newest

            return step

    def load(row, folder, model):
        return Loaded()
"""
FAULTS = {
    "raises": """
    def make(row, model, calibration, folder):
        raise OSError(f"no kernel in {folder}/some/place/kernel.so for it")
    """,
    "signal": """
    def load(row, folder, model):
        import os, signal
        os.kill(os.getpid(), signal.SIGSEGV)
    """,
    "hangs": """
    def load(row, folder, model):
        import time
        time.sleep(3600)
    """,
    "status": """
    import os
    Loaded.decoder = lambda self, prompt: os._exit(3)
    """,
    "wrong-decoder": """
    Loaded.decoder = lambda self, prompt: lambda: np.zeros(len(prompt), np.int64)
    """,
    "not-finite": """
    Loaded.logits = lambda self, tokens: np.full((len(tokens), 50), np.nan, np.float32)
    """,
}
HEAD = """
    import numpy as np

    ENVIRONMENT, REQUIREMENTS = "", ()
    ROWS = {{"{name}": {{"title": "A fake", "install": "pip install numpy", "needs": "nothing",
                       "packages": ("numpy",), "bits": 32}}}}
    # lines of {name}
    one = 1
    # end
"""


def script(folder, name, fault=""):
    path = folder / f"_tool_{name}.py"
    path.write_text("".join(map(textwrap.dedent, (HEAD.format(name=name), BEHAVES, fault))))
    return path


@pytest.fixture
def job(tmp_path):
    """A job's folder, of a text whose tokens mostly follow one another."""
    rows = (np.arange(40) + 3 * np.arange(8)[:, None]) % 50
    rows[:, ::7] = 11
    np.save(tmp_path / "tokens.npy", rows.astype(np.int64))
    np.save(tmp_path / "calibration.npy", rows.astype(np.int64))
    (tmp_path / "job.json").write_text(json.dumps({"model": str(tmp_path)}))
    return tmp_path


def test_each_fault_stays_in_its_row(bench, job, monkeypatch, tmp_path_factory):
    toolbox = bench("toolbox")
    monkeypatch.setattr(toolbox, "PAUSE", 0)
    monkeypatch.setattr(toolbox, "MINUTES", {**toolbox.MINUTES, "load": 10 / 60})
    monkeypatch.setattr(toolbox, "newest", lambda _: {"newest": "1", "released": "2026-01-01"})
    tools = tmp_path_factory.mktemp("tools")
    scripts = [script(tools, "torch-fp32"), *(script(tools, *fault) for fault in FAULTS.items())]
    entrants = toolbox.contenders([*scripts, script(tools, "good")])
    toolbox.measure(entrants, job)
    rows = {each.row["name"]: each.row for each in entrants}
    for name in ("torch-fp32", "good"):
        assert rows[name]["error"] is None
        assert all(rows[name][key] is not None for key in toolbox.MEASURED)
        assert (rows[name]["kl"], rows[name]["top1"], rows[name]["disk_bytes"]) == (0, 1, 1000)
    assert rows["raises"]["error"] == "OSError: no kernel in kernel.so for it"
    assert rows["signal"]["error"] == "the process was ended by SIGSEGV"
    assert rows["hangs"]["error"] == "no answer within 10 s"
    assert rows["status"]["error"] == "the process ended with status 3"
    assert "likeliest" in rows["wrong-decoder"]["error"]
    assert "finite" in rows["not-finite"]["error"]
    for name in FAULTS:
        assert rows[name]["tried"]
        assert rows[name]["tokens_per_second_1"] is None
        assert entrants[[*rows].index(name)].worker is None


def test_an_environment_that_can_not_be_made_is_a_fault_too(bench, job, monkeypatch):
    import subprocess

    toolbox = bench("toolbox")

    def fails(name, *requirements):
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(toolbox, "python_with", fails)
    monkeypatch.setattr(toolbox, "newest", lambda _: {"newest": "1"})
    (entrant,) = toolbox.contenders([script(job, "other")])
    entrant.about["environment"] = ("other", "no-such-package")
    toolbox.prepare(entrant)
    toolbox.quantized(entrant, job)
    assert entrant.row["error"] and entrant.row["tried"].endswith("install")


def test_quality_is_that_of_the_package(bench, tiny_llama):
    import copy

    import torch

    from qlearn.measure.evaluate import compare

    measured = bench("_toolbox_quality")
    other = copy.deepcopy(tiny_llama)
    for parameter in other.parameters():
        parameter.data = parameter.data.half().float() * 1.1
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(tiny_llama.config.vocab_size, (3, 20), generator=generator)
    found = compare(other, tiny_llama, tokens)
    with torch.inference_mode():
        mine, theirs = (each(tokens).logits.numpy() for each in (other, tiny_llama))
    reference = measured.log_probabilities(theirs[:, :-1])
    again = measured.quality(mine, reference, tokens.numpy())
    assert found.kl_divergence > 1e-4
    assert np.isclose(again["perplexity"], found.perplexity, rtol=1e-5)
    assert np.isclose(again["kl"], found.kl_divergence, rtol=1e-4)
    assert again["top1"] == found.top1_agreement


def test_a_token_one_step_of_bfloat16_behind_is_as_likely(bench):
    likeliest = bench("_toolbox_quality").likeliest
    logits = np.array([[20.0, 20.125, 19.0], [12.0625, 12.0, 11.9375], [-3.0, -3.0, -9.0]])
    exact = logits.astype(np.float32)  # all are numbers of BF16, with steps of 1/8 and 1/16
    assert likeliest(exact, np.array([0, 1, 1])).tolist() == [True, True, True]
    assert likeliest(exact, np.array([2, 2, 2])).tolist() == [False, False, False]
    finer = exact + np.float32(1e-3)  # no model in BF16 gives these
    assert likeliest(finer, np.array([0, 1, 1])).tolist() == [False, False, True]


def test_lines_of_use_are_those_marked(bench):
    facts = bench("_toolbox_facts")
    source = """
    def make():
        # lines of a b-c
        import this

        this.run(
            1,
        )
        # end
        other()
        # lines of b-c
        more()
        # end
    """
    shared = ["import this", "this.run(", "    1,", ")"]
    assert facts.lines_of_use(source, "a") == shared
    assert facts.lines_of_use(source, "b-c") == [*shared, "more()"]
    with pytest.raises(ValueError, match="no lines"):
        facts.lines_of_use(source, "b")


def test_rows_measured_anew_take_the_place_of_theirs(bench, monkeypatch):
    toolbox = bench("toolbox")
    old = [{"name": name, "kl": 1} for name in "ab"]
    monkeypatch.setattr(toolbox, "load", lambda _: {"rows": old})
    rows = toolbox.merged(["a", "b", "c"], [{"name": "b", "kl": 2}])
    assert rows == [{"name": "a", "kl": 1}, {"name": "b", "kl": 2}]


def test_a_name_that_is_no_row_is_refused(bench):
    toolbox = bench("toolbox")
    with pytest.raises(SystemExit, match="'nothing' is no row"):
        toolbox.chosen(toolbox.contenders([]), ["nothing"])

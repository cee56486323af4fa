"""Accuracy on the pocket tasks: greedy generation and question by question as oracles."""

import pytest
import torch
from torch.nn import functional as F

from qlearn import load_model, quantize_model
from qlearn.models.pocket.batches import encode
from qlearn.models.pocket.questions import accuracy_by_task, answer_questions
from qlearn.models.pocket.tasks import ALPHABET, TASKS, make_questions
from qlearn.numerics.scheme import QuantScheme


@pytest.fixture(scope="module")
def damaged():
    """A model that answers some and misses some."""
    model = load_model("pocket-100k")
    quantize_model(model, "rtn", QuantScheme(3), progress=False)
    return model


@pytest.mark.parametrize("task", [task for task in TASKS if task != "recall"])
def test_equals_greedy_generation(damaged, task):
    questions = make_questions(task, 30)
    right, nll = answer_questions(damaged, questions)
    for question, found, surprise in zip(questions, right, nll, strict=True):
        ids = torch.tensor([encode("\n" + question.prompt)])
        out = damaged.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=len(question.answer),
            do_sample=False,
        )
        answer = "".join(ALPHABET[code] for code in out[0, ids.shape[1] :])
        assert bool(found) == (answer == question.answer), question
        tokens = torch.tensor([encode("\n" + question.prompt + question.answer)])
        with torch.no_grad():
            logits = damaged(tokens).logits[0, :-1]
        expected = F.cross_entropy(
            logits[-len(question.answer) :], tokens[0, -len(question.answer) :]
        )
        assert surprise.item() == pytest.approx(expected.item(), rel=1e-3, abs=1e-4)


def test_recall_asks_two_keys(damaged):
    questions = make_questions("recall", 40)
    right, _ = answer_questions(damaged, questions)
    for question, found in zip(questions, right, strict=True):
        tokens = torch.tensor([encode("\n" + question.text)])
        with torch.no_grad():
            said = damaged(tokens).logits[0].argmax(-1)
        chosen = [int(said[position]) for position in question.scored]
        assert bool(found) == (chosen == encode(question.answer))


def test_what_it_counts_and_that_batches_do_not_matter():
    model = load_model("pocket-100k")
    scores = accuracy_by_task(model, ["copy", "add4"], count=600)
    assert list(scores) == ["copy", "add4"]
    questions = make_questions("add4", 600)
    right, nll = answer_questions(model, questions)
    assert scores["add4"].accuracy == pytest.approx(float(right.float().mean()), abs=1e-6)
    assert scores["add4"].nll == pytest.approx(float(nll.mean()), rel=1e-5)
    assert scores["add4"].questions == 600
    mixed = [*make_questions("agree", 3), *questions[:3]]  # of other lengths
    alone = [answer_questions(model, [question])[1].item() for question in mixed]
    assert answer_questions(model, mixed)[1].tolist() == pytest.approx(alone, rel=1e-3, abs=1e-5)


def test_a_model_that_knows_nothing_guesses(tiny_llama):
    with torch.no_grad():
        tiny_llama.lm_head.weight.zero_()
    right, nll = answer_questions(tiny_llama, make_questions("copy", 50))
    assert not right.any()  # it says the line's end, always
    assert nll.mean().item() == pytest.approx(torch.log(torch.tensor(128.0)).item(), rel=1e-5)


def test_no_questions():
    with pytest.raises(ValueError, match="questions is empty"):
        answer_questions(load_model("pocket-100k"), [])

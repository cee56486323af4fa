"""A canary for a server that shows text alone."""

from qlearn import QuantScheme, load_model, load_tokenizer, quantize_model
from qlearn.models.pocket.questions import answer_questions
from qlearn.models.pocket.tasks import TASKS, make_questions
from qlearn.serve.monitor.misses import design_misses, rate_bound
from qlearn.serve.monitor.text import agreement, answer_canary, asker, generation_canary


def served(bits=4):
    model = load_model("pocket-400k")
    quantize_model(model, "rtn", QuantScheme(bits, group_size=32), progress=False)
    return model


def test_text_alone():
    original, broken_model = load_model("pocket-400k"), served(2)
    tokenizer = load_tokenizer("pocket-400k")
    questions = [q for t in TASKS if t != "recall" for q in make_questions(t, 5)]
    canary = answer_canary(questions)
    assert len(canary) == 40
    healthy = canary.check(asker(served(), tokenizer, 6))
    expected, _ = answer_questions(served(), questions)
    assert healthy.exact.tolist() == expected.double().tolist()
    misses = int((1 - healthy.exact).sum())
    chart = design_misses(rate_bound(misses, len(healthy)), 0.3)
    assert not any(chart.update(1 - exact) for exact in healthy.exact.tolist())
    broken = canary.check(asker(broken_model, tokenizer, 6))
    assert broken.agreement.mean() < healthy.agreement.mean()
    assert any(chart.update(1 - exact) for exact in broken.exact.tolist())
    own = generation_canary(original, tokenizer, ["\n12+34=", "\nqzta>"], new_tokens=3)
    assert own.expected == ("046", "qzt")
    assert own.check(asker(original, tokenizer, 3), tokenizer=tokenizer).agreement.tolist() == [
        1,
        1,
    ]


def test_agreement_by_hand():
    assert agreement([1, 2, 3, 4], [1, 2, 9, 4]) == 0.5  # the 4 comes after another text
    assert agreement("abcd", "ab") == 0.5
    assert agreement("ab", "abcd") == 1
    assert agreement("ab", "") == 0

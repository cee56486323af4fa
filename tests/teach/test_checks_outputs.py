"""What a check shows: hints, containers, the table, HTML; and that it leaves no trace."""

import dataclasses
import math
from html.parser import HTMLParser

import pytest
import torch

from qlearn.teach.checks.checker import Exercise, Verdict, check


def weights(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


HALF = Exercise(
    id="demo.half",
    task="Write `half(x)`, half of x as a float tensor.",
    expected=lambda x: x / 2,
    cases=lambda: [(weights(3, 4),), (weights(2, 2) + 1,)],
)
FIELDS = Exercise(
    id="demo.fields",
    task="Write `fields(x)`.",
    expected=lambda x: {"sign": int(x < 0), "parts": (abs(x), x > 1), "name": "float"},
    cases=((-2.5,), (4.0,)),
)


WRONG_HALVES = {
    "nan": (lambda x: x / 2 * math.nan, "NaN in"),
    "infinite": (lambda x: x / 0, "infinity in"),
    "factor": (lambda x: x * 1.5 / 2, "Every value is 1.5 times the expected one"),
    "sign": (lambda x: -x / 2, "The sign of every value is wrong"),
    "some signs": (lambda x: x.abs() / 2, "some signs are wrong"),
    "offset": (lambda x: x / 2 + 3, "off by the same 3"),
    "transposed": (lambda x: x.T / 2, "rows and columns are swapped"),
    "sorted": (lambda x: (x / 2).flatten().sort().values.view(x.shape), "in another order"),
    "half precision": (lambda x: x.bfloat16().float() / 2, "Close, but not equal in"),
    "reciprocal": (lambda x: 2 / x, "reciprocal"),
    "int": (lambda x: x.long(), "dtype int64; expected float32"),
}


@pytest.mark.parametrize("name", WRONG_HALVES)
def test_hints_on_float_tensors(name):
    answer, words = WRONG_HALVES[name]
    verdict = check(HALF, answer)
    assert verdict.kind == "wrong"
    assert words in verdict.message


def test_a_cosine_would_not_notice_but_the_check_does():
    assert not check(HALF, lambda x: x * 0.75)


def test_own_hint_is_shown_with_an_unknown_mistake():
    exercise = dataclasses.replace(HALF, hint="Mind the units.")
    assert "Mind the units." in check(exercise, lambda x: x**3).message


WRONG_FIELDS = {
    "missing key": (lambda x: {"sign": 0, "name": "float"}, "lacks 'parts'"),
    "extra key": (lambda x: {**FIELDS.expected(x), 7: 1}, "should not have 7"),
    "not a dict": (lambda x: (0, (1, True), "float"), "is a tuple of 3; expected a dict"),
    "length": (lambda x: {**FIELDS.expected(x), "parts": (1.0,)}, "holds 1 items; expected 2"),
    "bool as integer": (
        lambda x: {**FIELDS.expected(x), "parts": (abs(x), int(x > 1))},
        "['parts'][1] is an integer; expected a bool",
    ),
    "text": (lambda x: {**FIELDS.expected(x), "name": "int"}, "'int'; expected 'float'"),
    "none inside": (lambda x: {**FIELDS.expected(x), "name": None}, "is None; expected a string"),
}


@pytest.mark.parametrize("name", WRONG_FIELDS)
def test_containers(name):
    answer, words = WRONG_FIELDS[name]
    assert words in check(FIELDS, answer).message


def test_list_for_tuple_and_scalar_tensor_for_number_pass():
    def fields(x):
        return {"name": "float", "parts": [torch.tensor(abs(x)), x > 1], "sign": 1 * (x < 0)}

    assert check(FIELDS, fields).passed


def test_the_worst_case_is_shown():
    exercise = dataclasses.replace(HALF, cases=((torch.ones(1),), (torch.full((2,), 9.0),)))
    verdict = check(exercise, lambda x: x)
    assert "Case 2 of 2" in verdict.message
    assert [(row.yours, row.expected) for row in verdict.table] == [("9", "4.5")] * 2


def test_at_most_eight_rows_and_they_hold_the_worst():
    def off(x):
        out = x / 2
        out[30, 7] += 5
        return out

    exercise = dataclasses.replace(HALF, cases=((weights(40, 10),),))
    verdict = check(exercise, off)
    assert len(verdict.table) == 8
    assert [row.place for row in verdict.table if row.differs] == ["[30, 7]"]
    assert "differs in 1 of 400 places" in verdict.message


def test_answers_get_fresh_copies_and_leave_no_trace():
    case = weights(3)
    exercise = Exercise("demo.copy", "Add one.", lambda x: x + 1, cases=((case,), (case * 2,)))
    before = case.clone()
    state = torch.random.get_rng_state()
    for _ in range(2):
        assert "in place" in check(exercise, lambda x: x.add_(1)).message
        assert check(exercise, lambda x: x + 1)
    assert torch.equal(case, before)
    assert torch.equal(state, torch.random.get_rng_state())


def test_changed_containers_modules_and_copies_of_them():
    layer = torch.nn.Linear(2, 2)
    cases = (([1.0, 2.0], {"a": 1}, layer), ([3.0], {"a": 2}, layer))
    exercise = Exercise("demo.mix", "Sum.", lambda x, d, m: sum(x) + d["a"], cases=cases)
    assert check(exercise, lambda x, d, m: sum(x) + d["a"])
    assert "`x` in place" in check(exercise, lambda x, d, m: x.pop() + d["a"]).message
    assert "`d` in place" in check(exercise, lambda x, d, m: sum(x) + d.pop("a")).message

    def spoil(x, d, m):
        m.weight.data.zero_()
        return sum(x) + d["a"]

    assert "`m` in place" in check(exercise, spoil).message
    assert layer.weight.detach().any()


def test_random_answers_get_the_same_verdict_each_time():
    exercise = dataclasses.replace(HALF, mistakes={"Noise.": lambda x: x + torch.rand_like(x)})
    texts = {check(exercise, torch.rand_like).message for _ in range(3)}
    assert len(texts) == 1
    assert check(exercise, lambda x: x + torch.rand_like(x)).diagnosis == "Noise."


def test_gradients_are_left_aside():
    assert check(HALF, lambda x: x.requires_grad_() / 2)


class Outline(HTMLParser):
    """Collects tags, to show that the HTML is balanced, and attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.attributes, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_html_is_balanced_escaped_and_named():
    outline = Outline()
    name = Exercise("demo.<b>", "Is `a<b`?", 1.0)
    outline.feed(check(HALF, torch.zeros_like)._repr_html_())
    outline.feed(check(name, ...)._repr_html_())
    assert outline.open == []
    assert ("div", "role", "status") in outline.attributes
    assert ("th", "scope", "col") in outline.attributes
    assert ("th", "scope", "row") in outline.attributes
    for words in ("Not right yet", "differs", "demo.<b>", "a<b"):
        assert words in outline.text


def test_repr_is_the_message_and_tables_line_up():
    verdict = check(HALF, torch.zeros_like)
    assert repr(verdict) == verdict.message
    lines = verdict.message.splitlines()[-len(verdict.table) - 1 :]
    assert len({len(line) for line in lines}) == 1
    assert isinstance(verdict, Verdict)

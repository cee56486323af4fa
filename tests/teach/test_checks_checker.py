"""The checker on functions: right, blank and wrong answers of every kind."""

import dataclasses

import pytest
import torch

from qlearn.teach.checks.checker import Exercise, check
from qlearn.teach.checks.proof import prove


def weights(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def reference(weight, bits):
    """Asymmetric codes with the zero kept exact."""
    low, high = min(float(weight.min()), 0.0), max(float(weight.max()), 0.0)
    scale = (high - low) / (2**bits - 1)
    zero_point = round(-low / scale)
    return (torch.round(weight / scale) + zero_point).clamp(0, 2**bits - 1).to(torch.uint8)


def truncated(weight, bits):
    low, high = min(float(weight.min()), 0.0), max(float(weight.max()), 0.0)
    scale = (high - low) / (2**bits - 1)
    return (torch.trunc(weight / scale) + round(-low / scale)).clamp(0, 2**bits - 1).byte()


def one_level_more(weight, bits):
    low, high = min(float(weight.min()), 0.0), max(float(weight.max()), 0.0)
    scale = (high - low) / 2**bits
    return (torch.round(weight / scale) + round(-low / scale)).clamp(0, 2**bits - 1).byte()


def no_zero_point(weight, bits):
    scale = float(weight.max() - weight.min()) / (2**bits - 1)
    return torch.round(weight / scale).clamp(0, 2**bits - 1).to(torch.uint8)


MISTAKES = {
    "The codes were truncated; round them to the nearest.": truncated,
    "The range was divided by 2^bits; a grid of 2^bits codes has one step less.": one_level_more,
    "The zero-point was left out.": no_zero_point,
}
CODES = Exercise(
    id="demo.codes",
    task="Write `codes(weight, bits)`: the codes of `weight`, as uint8.",
    expected=reference,
    cases=((weights(8), 4), (weights(4, 6), 3), (weights(5).abs(), 2)),
    mistakes=MISTAKES,
)


def stub(weight, bits): ...


def pass_stub(weight, bits):
    pass


def todo(weight, bits):
    raise NotImplementedError("write me")


def blank_pair(weight, bits):
    return ..., ...


@pytest.mark.parametrize("blank", [None, ..., stub, pass_stub, todo, blank_pair, [...], (None,)])
def test_blank_says_what_is_asked(blank):
    verdict = check(CODES, blank)
    assert verdict.kind == "blank"
    assert not verdict
    assert "Not answered yet (demo.codes)" in verdict.message
    assert CODES.task in verdict.message
    with pytest.raises(AssertionError, match="Not answered yet"):
        verdict.require()


def second_solution(w, number_of_bits=4):
    """The same codes by another road: a search for the nearest grid point, in float64."""
    top = 2**number_of_bits - 1
    low, high = w.min().clamp(max=0), w.max().clamp(min=0)
    scale = (high - low) / top
    grid = (torch.arange(top + 1) - torch.round(-low / scale)) * scale
    return (w[..., None] - grid).abs().argmin(-1).to(torch.uint8)


@pytest.mark.parametrize("right", [reference, second_solution])
def test_right_functions_pass(right):
    verdict = check(CODES, right)
    assert verdict.passed, verdict.message
    assert verdict
    assert "3 of 3" in verdict.message
    verdict.require()


@pytest.mark.parametrize(("diagnosis", "wrong"), MISTAKES.items())
def test_listed_mistake_gets_its_diagnosis(diagnosis, wrong):
    verdict = check(CODES, lambda first, second: wrong(first, bits=second))
    assert verdict.kind == "wrong"
    assert verdict.diagnosis == diagnosis
    assert verdict.table


def mutating(weight, bits):
    codes = reference(weight, bits)
    weight.zero_()
    return codes


def mutating_stub(weight, bits):
    weight.mul_(2)


def interrupted(weight, bits):
    raise KeyboardInterrupt


def leaving(weight, bits):
    raise SystemExit("bye")


def endless(weight, bits):
    return endless(weight, bits)


def no_return_at_three_bits(weight, bits):
    return None if bits == 3 else reference(weight, bits)


def broken_tensor(weight, bits):
    return torch.empty(weight.shape, device="meta", dtype=torch.uint8)


class Odd:
    """An answer that cannot be compared, printed or made true."""

    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = None

    def __repr__(self):
        raise RuntimeError("no")

    def __bool__(self):
        raise RuntimeError("no")


def as_codes(change):
    return lambda weight, bits: change(reference(weight, bits))


WRONG_FUNCTIONS = {
    "called": (3, "is an integer, but the exercise asks for a function"),
    "called too early": (weights(2), "float32 tensor of shape [2], but"),
    "odd": (Odd(), "is an Odd, but the exercise asks for a function"),
    "too few parameters": (lambda weight: weight, "wrong parameters. It takes (weight)"),
    "keyword only": (lambda *, weight, bits: weight, "2 arguments: (weight, bits)"),
    "raises": (lambda w, b: w / "a", "raises TypeError: unsupported operand"),
    "raises without words": (lambda w, b: next(iter([])), "raises StopIteration."),
    "exits": (leaving, "raises SystemExit: bye"),
    "recursion": (endless, "raises RecursionError"),
    "changes its argument": (mutating, "changes its argument `weight` in place"),
    "changes and returns nothing": (mutating_stub, "changes its argument `weight` in place"),
    "one branch returns nothing": (no_return_at_three_bits, "returns nothing here"),
    "type": (as_codes(torch.Tensor.tolist), "is a list of 8; expected a uint8 tensor"),
    "numpy": (as_codes(lambda q: q.numpy()), "torch.from_numpy"),
    "string": (as_codes(str), "is a string; expected a uint8 tensor of shape"),
    "odd result": (as_codes(lambda q: Odd()), "is an Odd; expected a uint8"),
    "meta": (broken_tensor, "expected a dense tensor"),
    "sparse": (as_codes(lambda q: q.to_sparse()), "expected a dense tensor"),
    "shape": (as_codes(lambda q: q[None]), "shape [1, 8]; expected [8]. The values are right and"),
    "scalar": (as_codes(lambda q: q.sum()), "shape []; expected [8]"),
    "dtype": (as_codes(torch.Tensor.float), "dtype float32; expected uint8"),
    "width": (as_codes(torch.Tensor.long), "dtype int64; expected uint8"),
    "reversed": (as_codes(lambda q: q.flip(-1)), "in reverse order along the last dimension"),
    "one more": (as_codes(lambda q: q + 1), "Every value is one too large"),
    "one more in places": (as_codes(lambda q: q + (q == q.max())), "one too large: rounded up"),
    "zeros": (as_codes(torch.zeros_like), "Every value is zero"),
}


@pytest.mark.parametrize("name", WRONG_FUNCTIONS)
def test_wrong_functions_are_diagnosed(name):
    answer, words = WRONG_FUNCTIONS[name]
    verdict = check(CODES, answer)
    assert verdict.kind == "wrong"
    assert words in verdict.message
    assert verdict._repr_html_()


def test_error_names_the_case():
    verdict = check(CODES, lambda w, b: reference(w, b) if b == 4 else 1 / 0)
    assert "raises ZeroDivisionError: division by zero" in verdict.diagnosis
    assert "Case 2 of 3: `answer(weight=float32 tensor of shape [4, 6], bits=3)`" in verdict.message
    assert "Right in 1 of 3 cases" in verdict.message


def test_keyboard_interrupt_passes_through():
    with pytest.raises(KeyboardInterrupt):
        check(CODES, interrupted)


def test_a_mistake_that_raises_is_known_too():
    exercise = Exercise(
        "demo.zero",
        "Divide, and give 0 for 0/0.",
        lambda a, b: a / b if b else 0.0,
        cases=((1.0, 2.0), (0.0, 0.0)),
        mistakes={"A group of zeros divides 0 by 0.": lambda a, b: a / b},
    )
    assert check(exercise, lambda x, y: x * (1 / y)).diagnosis == "A group of zeros divides 0 by 0."


def test_other_dtypes_of_one_kind():
    loose = dataclasses.replace(CODES, exact_dtype=False)
    assert check(loose, as_codes(torch.Tensor.long))
    assert not check(loose, as_codes(torch.Tensor.double))
    assert not check(loose, as_codes(torch.Tensor.bool))


def test_integers_of_functions_are_exact_whatever_the_tolerance():
    exercise = Exercise("demo.n", "Count.", lambda n: 10**6 * n, cases=((1,), (2,)), rtol=0.1)
    assert check(exercise, lambda n: 10**6 * n)
    assert not check(exercise, lambda n: 10**6 * n + 1)


def test_the_exercise_is_proven():
    prove(CODES)


def test_unknown_ids():
    from qlearn.exercises import check

    with pytest.raises(ValueError, match="chapter='chXX' has no exercises"):
        check("chXX.scale", 3)

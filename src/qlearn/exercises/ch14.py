"""Chapter 14: a rule as a function, two claims computed again, what is kept, and how many ask."""

from __future__ import annotations

from math import ceil, floor

from qlearn.teach.checks.checker import Exercise


def _rule(claimed: list[float], measured: list[float], tolerance: float) -> str:
    near = [abs(a - b) <= tolerance for a, b in zip(claimed, measured, strict=True)]
    return "holds" if all(near) else "holds when" if any(near) else "wrong"


def _rule_of(passes: object) -> object:
    """A rule that judges the pairs with ``passes(claimed, measured, tolerance)``."""

    def rule(claimed: list[float], measured: list[float], tolerance: float) -> str:
        near = [passes(a, b, tolerance) for a, b in zip(claimed, measured, strict=True)]  # type: ignore[operator]
        return "holds" if all(near) else "holds when" if any(near) else "wrong"

    return rule


def _rule_never_when(claimed: list[float], measured: list[float], tolerance: float) -> str:
    found = _rule(claimed, measured, tolerance)
    return "wrong" if found == "holds when" else found


def _rule_any(claimed: list[float], measured: list[float], tolerance: float) -> str:
    found = _rule(claimed, measured, tolerance)
    return "holds" if found == "holds when" else found


def _kv(layers: int, kv_heads: int, head_size: int, bits: int, tokens: int) -> float:
    return 2 * layers * kv_heads * head_size * bits / 8 * tokens / 1e9


def _cards(parameters: float, bits: float, cache: float, memory: float, share: float) -> int:
    return ceil((parameters * bits / 8 + cache) / (share * memory))


def _kept(before: float, after: float, rises: bool) -> float:
    return before / after if rises else after / before


EXERCISES = [
    Exercise(
        id="ch14.rule",
        task='Write `rule(claimed, measured, tolerance)`: "holds" if every measured figure is '
        'within `tolerance` of the claimed one, "holds when" if some are, "wrong" if none is.',
        expected=_rule,
        cases=(
            ([0.5, 0.75, 0.875], [0.5, 0.74, 0.87], 0.03),
            ([0.5, 0.75, 0.875], [0.5, 0.6, 0.7], 0.03),
            ([2.0, 4.0], [1.5, 3.0], 0.1),
            ([10.0, 20.0], [10.4, 20.9], 0.05),
            ([0.5], [0.9], 0.1),
            ([0.25, 0.125], [0.375, 0.25], 0.125),
        ),
        mistakes={
            "The tolerance is taken as a share of the claimed figure. Here it is a difference.": (
                _rule_of(lambda a, b, t: abs(b / a - 1) <= t)
            ),
            "A measured figure above the claimed one passes, however far off. Take the distance, "
            "without its sign.": _rule_of(lambda a, b, t: a - b <= t),
            "A figure that is off by exactly the tolerance is still within it.": (
                _rule_of(lambda a, b, t: abs(a - b) < t)
            ),
            'There is no "holds when": some figures within the tolerance are not none.': (
                _rule_never_when
            ),
            'One figure within the tolerance is enough for "holds" here; all are needed.': (
                _rule_any
            ),
        },
        hint="A list of abs(a - b) <= tolerance, then all() and any().",
    ),
    Exercise(
        id="ch14.cache",
        task="Claim 21. Write `cache(layers, kv_heads, head_size, bits, tokens)`: the KV cache of "
        "one sequence in GB (1e9 bytes), with `bits` a number.",
        expected=_kv,
        cases=((32, 32, 128, 16, 1000), (32, 8, 128, 16, 4096), (30, 3, 64, 8, 500)),
        mistakes={
            "Half is missing: keys and values are both kept.": lambda n, h, d, b, t: (
                _kv(n, h, d, b, t) / 2
            ),
            "The bits are taken for bytes: divide by 8.": lambda n, h, d, b, t: (
                8 * _kv(n, h, d, b, t)
            ),
            "That is one layer's: each layer keeps its own.": lambda n, h, d, b, t: _kv(
                1, h, d, b, t
            ),
            "That is in GiB, 2**30 bytes. The claim, and memory here, is in GB: 1e9.": (
                lambda n, h, d, b, t: _kv(n, h, d, b, t) * 1e9 / 2**30
            ),
        },
        rtol=1e-6,
        hint="2 x layers x heads x size x bytes x tokens.",
    ),
    Exercise(
        id="ch14.cards",
        task="Claim 23. Write `cards(parameters, bits, cache, memory, share)`: how many cards of "
        "`memory` bytes hold the weights at `bits` each and `cache` bytes beside them, where a "
        "model may have `share` of a card.",
        expected=_cards,
        cases=(
            (70e9, 4.156, 1.3e9, 25.8e9, 0.9),
            (70e9, 16.0, 1.3e9, 25.8e9, 0.9),
            (13e9, 4.156, 3.4e9, 12.9e9, 0.9),
            (42e9, 4.0, 3e9, 25e9, 0.9),
            (12e9, 4.0, 5e9, 11.5e9, 1.0),
        ),
        mistakes={
            "Rounded down: a card that is needed in part is needed.": lambda p, b, c, m, s: floor(
                (p * b / 8 + c) / (s * m)
            ),
            "All of a card is given to the model; it may have `share` of it.": (
                lambda p, b, c, m, s: ceil((p * b / 8 + c) / m)
            ),
            "The bits are taken for bytes: divide by 8.": lambda p, b, c, m, s: ceil(
                (p * b + c) / (s * m)
            ),
            "The cache is left out.": lambda p, b, c, m, s: ceil(p * b / 8 / (s * m)),
        },
        hint="Bytes in all, over the bytes that a card gives, rounded up with math.ceil.",
    ),
    Exercise(
        id="ch14.kept",
        task="Write `kept(before, after, rises)`: the share of quality kept, 1 where nothing "
        "changed. `rises` is true for a measure that rises as a model gets worse.",
        expected=_kept,
        cases=((42.26, 50.64, True), (0.807, 0.765, False), (10.0, 12.5, True)),
        mistakes={
            "Perplexity rises as a model gets worse: where `rises`, before over after.": (
                lambda before, after, rises: after / before
            ),
            "That fits measures that rise; accuracy falls: then after over before.": (
                lambda before, after, rises: before / after
            ),
            "That is the share lost. Kept is 1 less that.": lambda before, after, rises: (
                1 - _kept(before, after, rises)
            ),
            "That is a difference, in the measure's own unit. Kept is a share: divide.": (
                lambda before, after, rises: before - after if rises else after - before
            ),
        },
        rtol=1e-6,
        hint="A ratio, one way up or the other.",
    ),
    Exercise(
        id="ch14.questions",
        task="A benchmark of 200 questions finds INT4 4 points behind FP32; the standard error of "
        "that difference is 3 points. How many questions make 4 points two standard errors? The "
        "error falls with the square root of their number.",
        expected=450,
        mistakes={
            "The error falls with the square root: twice as many questions are needed for the "
            "square of what the error must fall by.": 300,
            "That is one standard error: half as much certainty as asked for.": 112.5,
            "That is how many times as many; multiply by 200.": 2.25,
            "That many are to be added to the 200; count them all.": 250,
        },
        rtol=0.01,
        hint="The error must fall from 3 points to 2: by 1.5, so questions rise by 1.5 squared.",
    ),
]

"""Answers to chapter 14's exercises, written apart from the exercises: right ones and wrong."""

import math


def counted(claimed, measured, tolerance):
    good = sum(abs(b - a) <= tolerance for a, b in zip(claimed, measured, strict=True))
    if good == len(claimed):
        return "holds"
    return "holds when" if good else "wrong"


def counted_relative(claimed, measured, tolerance):
    good = sum(abs(b - a) <= tolerance * a for a, b in zip(claimed, measured, strict=True))
    return "holds" if good == len(claimed) else "holds when" if good else "wrong"


def counted_one_side(claimed, measured, tolerance):
    good = sum(b >= a - tolerance for a, b in zip(claimed, measured, strict=True))
    return "holds" if good == len(claimed) else "holds when" if good else "wrong"


def counted_strictly(claimed, measured, tolerance):
    good = sum(abs(b - a) < tolerance for a, b in zip(claimed, measured, strict=True))
    return "holds" if good == len(claimed) else "holds when" if good else "wrong"


def all_or_nothing(claimed, measured, tolerance):
    return "holds" if counted(claimed, measured, tolerance) == "holds" else "wrong"


def one_is_enough(claimed, measured, tolerance):
    return "wrong" if counted(claimed, measured, tolerance) == "wrong" else "holds"


def cache(layers, kv_heads, head_size, bits, tokens):
    a_token = layers * kv_heads * head_size * bits // 4
    return a_token * tokens / 10**9


def cards(parameters, bits, cache, memory, share):
    count = 1
    while count * share * memory < parameters * bits / 8 + cache:
        count += 1
    return count


CASES = {
    "ch14.rule": {
        "right": [counted],
        "wrong": [
            (counted_relative, "share of the claimed"),
            (counted_one_side, "without its sign"),
            (counted_strictly, "exactly the tolerance"),
            (all_or_nothing, 'no "holds when"'),
            (one_is_enough, "all are needed"),
        ],
    },
    "ch14.cache": {
        "right": [cache],
        "wrong": [
            (lambda n, h, d, b, t: n * h * d * b * t / 8e9, "both kept"),
            (lambda n, h, d, b, t: 2 * n * h * d * b * t / 1e9, "divide by 8"),
            (lambda n, h, d, b, t: cache(1, h, d, b, t), "one layer's"),
            (lambda n, h, d, b, t: cache(n, h, d, b, t) * 1e9 / 1024**3, "in GiB"),
        ],
    },
    "ch14.cards": {
        "right": [cards],
        "wrong": [
            (lambda p, b, c, m, s: int((p * b / 8 + c) // (s * m)), "Rounded down"),
            (lambda p, b, c, m, s: cards(p, b, c, m, 1), "`share` of it"),
            (lambda p, b, c, m, s: cards(p, 8 * b, c, m, s), "divide by 8"),
            (lambda p, b, c, m, s: cards(p, b, 0, m, s), "cache is left out"),
        ],
    },
    "ch14.kept": {
        "right": [lambda b, a, rises: (b / a) ** (1 if rises else -1)],
        "wrong": [
            (lambda b, a, rises: a / b, "before over after"),
            (lambda b, a, rises: b / a, "accuracy falls"),
            (lambda b, a, rises: 1 - (b / a if rises else a / b), "share lost"),
            (lambda b, a, rises: (b - a) * (1 if rises else -1), "difference"),
        ],
    },
    "ch14.questions": {
        "right": [math.ceil(200 * (2 * 3 / 4) ** 2)],
        "wrong": [
            (300, "square root"),
            (112.5, "one standard error"),
            (2.25, "multiply by 200"),
            (250, "count them all"),
        ],
    },
}

"""Answers to chapter 13's exercises, written apart from them: right ones and wrong ones."""

from itertools import accumulate

import numpy as np


def percentile_by_counting(values, share):
    n = len(values)
    return min(v for v in values if sum(w <= v for w in values) >= share * n - 1e-9)


def latencies_by_time(due, service):
    ends = []
    for moment in due:
        ends.append(max([moment, *ends[-1:]]) + service)
    return [end - moment for end, moment in zip(ends, due, strict=True)]


def heights_by_minimum(values, allowance):
    """Page's own form: the sum so far above its least value so far."""
    sums = np.concatenate([[0.0], np.cumsum(np.subtract(values, allowance))])
    return list((sums - np.minimum.accumulate(sums))[1:])


def delay_by_steps(shift, allowance, threshold):
    if shift <= allowance:
        return 0
    steps, height = 0, 0.0
    while height <= threshold + 1e-9:
        height += shift - allowance
        steps += 1
    return steps


CASES = {
    "ch13.percentile": {
        "right": [
            percentile_by_counting,
            lambda values, share: float(np.percentile(values, 100 * share, method="inverted_cdf")),
        ],
        "wrong": [
            (lambda values, share: values[int(np.ceil(share * len(values) - 1e-9)) - 1], "sorted"),
            (
                lambda values, share: np.sort([*values, max(values)])[
                    np.floor(share * len(values) + 1e-9).astype(int)
                ].item(),
                "one rank too far",
            ),
            (lambda values, share: float(np.percentile(values, 100 * share)), "lies between"),
            (lambda values, share: sum(values) / len(values), "the mean"),
            (
                lambda values, share: -percentile_by_counting([-v for v in values], share),
                "from the largest",
            ),
        ],
    },
    "ch13.queue": {
        "right": [latencies_by_time],
        "wrong": [
            (lambda due, service: [service for _ in due], "service alone"),
            (
                lambda due, service: [w - service for w in latencies_by_time(due, service)],
                "waiting alone",
            ),
            (
                lambda due, service: [
                    end - moment
                    for end, moment in zip(
                        accumulate([due[0] + service, *[service] * (len(due) - 1)]),
                        due,
                        strict=True,
                    )
                ],
                "idle between",
            ),
            (
                lambda due, service: list(np.add(due, latencies_by_time(due, service))),
                "moments at which",
            ),
        ],
    },
    "ch13.heights": {
        "right": [heights_by_minimum],
        "wrong": [
            (lambda values, k: list(np.cumsum(np.subtract(values, k))), "below zero"),
            (lambda values, k: heights_by_minimum(values, 0), "allowance is missing"),
            (lambda values, k: [max(0.0, v - k) for v in values], "stands alone"),
            (
                lambda values, k: [max(0.0, h - k) for h in heights_by_minimum(values, 0)],
                "what is shown",
            ),
            (lambda values, k: heights_by_minimum(np.abs(values), k), "Keep the signs"),
        ],
    },
    "ch13.delay": {
        "right": [delay_by_steps],
        "wrong": [
            (
                lambda s, k, h: 0 if s <= k else int(np.ceil(h / (s - k) - 1e-9)),
                "At the threshold",
            ),
            (lambda s, k, h: delay_by_steps(s, 0, h), "allowance is missing"),
            (
                lambda s, k, h: delay_by_steps(s, k, h) if s > k else delay_by_steps(k - s, 0, h),
                "off the ground",
            ),
            (lambda s, k, h: max(0, delay_by_steps(s, k, h) - 1), "too few"),
        ],
    },
    "ch13.days": {
        "right": [10_000 / 16 / 12 / 24, 2.17],
        "wrong": [
            (5_000 / 16 / 12 / 24, "together already"),
            (20_000 / 16 / 12 / 24, "half as often"),
            (10_000 / 16 / 12, "are hours"),
            (10_000 / 12 / 24, "a turn of them"),
        ],
    },
}

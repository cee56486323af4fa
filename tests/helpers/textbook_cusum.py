"""CUSUM as the textbooks have it, for normal values: what the charts are compared with."""

from math import expm1, inf

from qlearn.serve.monitor.charts.cumulative_sums import average_run_length, normal

HIGHEST = 60.0  # deviations; above it the chain has too few cells


def siegmund(allowance: float, threshold: float, mean: float = 0.0) -> float:
    """The mean run length by a formula, for normal values of deviation 1.

    ``(exp(2 d b) - 2 d b - 1) / (2 d^2)`` with ``d = k - mean`` and ``b = h + 1.166`` (Siegmund,
    *Sequential Analysis*, 1985, 10.5). Within some per cent of the Markov chain, and it shows what
    matters: between false alarms the time grows exponentially in ``h``, the delay only linearly.

    >>> round(siegmund(0.5, 5.0)), round(siegmund(0.5, 5.0, mean=1.0), 1)
    (938, 10.3)
    """
    drift, height = allowance - mean, threshold + 1.166
    if abs(drift) < 1e-6:
        return height**2
    power = 2 * drift * height
    return inf if power > 700 else (expm1(power) - power) / (2 * drift**2)


def normal_threshold(shift: float, one_false_alarm_in: float = 10_000) -> float:
    """The threshold for normal values, as in the textbooks; to see what real prompts cost.

    >>> round(normal_threshold(shift=1.0, one_false_alarm_in=930), 1)
    5.0
    """
    low, high = 0.0, HIGHEST
    while high - low > 1e-3:
        middle = (low + high) / 2
        enough = float(average_run_length(normal(), shift / 2, middle)) >= one_false_alarm_in
        low, high = (low, middle) if enough else (middle, high)
    return high

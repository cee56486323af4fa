"""What is said of a load test: percentiles, and how many tokens a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from qlearn.serve.load import Timing

SHARES = (0.5, 0.95, 0.99)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` of all values do not exceed (nearest rank).

    It is one of the values itself. Other definitions interpolate between two neighbours; with
    few values in the tail the neighbours lie far apart, and what is interpolated nobody waited.

    Raises:
        ValueError: for no values, or a share outside (0, 1].

    >>> waits = [10, 20, 30, 40, 50, 60, 70, 80, 90, 1000]
    >>> percentile(waits, 0.5), percentile(waits, 0.9), percentile(waits, 0.95)
    (50, 90, 1000)
    """
    if not len(values):
        raise ValueError("values is empty; measure first")
    if not 0 < share <= 1:
        raise ValueError(f"share={share!r} is not in (0, 1]; for the 95th percentile pass 0.95")
    # A grain less: 0.95 * 20 is a little above 19 in floating point.
    return sorted(values)[max(0, ceil(share * len(values) - 1e-9) - 1)]


@dataclass(frozen=True)
class Summary:
    """Of one load test; times in seconds, percentiles by their share.

    Attributes:
        requests: that were answered.
        failures: that were not.
        seconds: from the first request to the last answer.
        tokens: generated.
        latency: from when a request came to its last byte.
        first_token: to its first token (TTFT).
        gap: between one token and the next, of all requests together.
        mean_latency: for comparison.
    """

    requests: int
    failures: int
    seconds: float
    tokens: int
    latency: dict[float, float]
    first_token: dict[float, float]
    gap: dict[float, float]
    mean_latency: float

    @property
    def tokens_per_second(self) -> float:
        """Of all requests together."""
        return self.tokens / self.seconds

    def row(self) -> dict[str, float]:
        """As a row of a results file, milliseconds where ``_ms`` stands."""
        row: dict[str, float] = {
            "requests": self.requests,
            "failures": self.failures,
            "requests_per_second": round(self.requests / self.seconds, 3),
            "tokens_per_second": round(self.tokens_per_second, 2),
            "latency_mean_ms": round(1e3 * self.mean_latency, 2),
        }
        for name in ("first_token", "gap", "latency"):
            for share, seconds in getattr(self, name).items():
                row[f"{name}_p{round(100 * share)}_ms"] = round(1e3 * seconds, 2)
        return row


def summarize(timings: Sequence[Timing]) -> Summary:
    """The figures of a load test.

    Raises:
        ValueError: where no request was answered with text.
    """
    done = [(timing, timing.reply) for timing in timings if timing.reply is not None]
    first = [t.first_token for t, _ in done if t.first_token is not None]
    if not first:
        errors = sorted({timing.error for timing in timings})
        raise ValueError(f"timings holds no answer; the errors: {errors}")
    # A single token has no gap: then there is nothing to wait for.
    gaps = [gap for _, reply in done for gap in reply.gaps] or [0.0]
    waits = [timing.seconds for timing, _ in done]
    begin, end = min(t.due for t in timings), max(t.ended for t in timings)
    return Summary(
        len(done),
        len(timings) - len(done),
        end - begin,
        sum(reply.generated for _, reply in done),
        {share: percentile(waits, share) for share in SHARES},
        {share: percentile(first, share) for share in SHARES},
        {share: percentile(gaps, share) for share in SHARES},
        sum(waits) / len(waits),
    )

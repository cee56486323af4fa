"""What a served model tells Prometheus: speed, memory, the canary, alarms.

Prometheus comes by every few seconds and reads a page of numbers; :meth:`Metrics.page` writes it.
A *counter* only grows (Prometheus makes rates of it), a *gauge* is a value now, a *histogram*
counts into buckets, from which Prometheus estimates percentiles. Names end in their unit, by its
custom, and units are seconds, bytes and nats.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from qlearn import needs
from qlearn.serve.monitor.canary import CanaryResult
from qlearn.serve.monitor.inputs import InputDrift
from qlearn.serve.monitor.monitor import Alarm, Monitor
from qlearn.serve.monitor.text import TextResult

with needs("course"):
    from prometheus_client import (
        CollectorRegistry,
        Counter,
        Gauge,
        Histogram,
        generate_latest,
        start_http_server,
    )

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """All metrics of one served model, in a registry of their own.

    Args:
        registry: to put them into; by default a new one, so that two servers can share a process.
        memory: bytes that the server takes now; by default this process's. For a server beside this
            one pass its own: ``Server.memory``.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        memory: Callable[[], float] | None = None,
    ) -> None:
        self.registry = registry or CollectorRegistry()
        own = self.registry
        self.request_seconds = Histogram(
            "qlearn_request_seconds",
            "From a request to its last token",
            buckets=SECONDS,
            registry=own,
        )
        self.first_token_seconds = Histogram(
            "qlearn_first_token_seconds",
            "From a request to its first token",
            buckets=SECONDS,
            registry=own,
        )
        self.tokens = Counter(
            "qlearn_tokens", "Tokens, read in prompts or generated", ["kind"], registry=own
        )
        self.failures = Counter(
            "qlearn_request_failures", "Requests that ended in an error", registry=own
        )
        self.memory = Gauge(
            "qlearn_resident_memory_bytes", "Memory of the server's process now", registry=own
        )
        self.memory.set_function(memory or resident_bytes)
        self.canary_prompts = Counter(
            "qlearn_canary_prompts", "Canary prompts that were checked", registry=own
        )
        self.canary_checked = Gauge(
            "qlearn_canary_checked_timestamp_seconds",
            "When a canary prompt was last checked, or the watch began",
            registry=own,
        )
        self.canary_checked.set(time.time())
        self.canary = {
            "kl": Gauge(
                "qlearn_canary_kl_nats", "KL(original || served) a token, last check", registry=own
            ),
            "surprise": Gauge(
                "qlearn_canary_surprise_nats",
                "Negative log-likelihood a token, last check",
                registry=own,
            ),
            "agreement": Gauge(
                "qlearn_canary_agreement_ratio",
                "Tokens where original and served agree, last check",
                registry=own,
            ),
            "exact": Gauge(
                "qlearn_canary_exact_ratio", "Answers that were right, last check", registry=own
            ),
        }
        self.height = Gauge("qlearn_chart_height", "Where a chart stands", ["chart"], registry=own)
        self.threshold = Gauge(
            "qlearn_chart_threshold", "What raises its alarm", ["chart"], registry=own
        )
        self.alarms = Counter("qlearn_alarms", "Alarms raised", ["chart"], registry=own)
        self.input_p_value = Gauge(
            "qlearn_input_p_value",
            "Kolmogorov-Smirnov, last window of prompts",
            ["feature"],
            registry=own,
        )
        self.input_stability = Gauge(
            "qlearn_input_stability_index", "PSI, last window of prompts", ["feature"], registry=own
        )

    def request(
        self, seconds: float, read: int, generated: int, first_token: float | None = None
    ) -> None:
        """Count a finished request: its seconds, tokens read and generated, time to the first."""
        self.request_seconds.observe(seconds)
        if first_token is not None:
            self.first_token_seconds.observe(first_token)
        self.tokens.labels("read").inc(read)
        self.tokens.labels("generated").inc(generated)

    def check(self, result: CanaryResult | TextResult) -> None:
        """Show a canary's last check, as means over its prompts."""
        self.canary_prompts.inc(len(result))
        self.canary_checked.set(time.time())
        for name, gauge in self.canary.items():
            values: Tensor | None = getattr(result, name, None)
            if values is not None:
                gauge.set(float(values.mean()))

    def watch(self, monitor: Monitor, raised: Sequence[Alarm] = ()) -> None:
        """Show the charts, and count the alarms that ``monitor.see`` returned."""
        for name, chart in monitor.charts.items():
            self.height.labels(name).set(chart.height)
            self.threshold.labels(name).set(chart.threshold)
            self.alarms.labels(name).inc(sum(alarm.chart == name for alarm in raised))

    def inputs(self, found: Iterable[InputDrift]) -> None:
        """Show what ``InputWatch.update`` returned for a full window."""
        for each in found:
            self.input_p_value.labels(each.feature).set(each.p_value)
            self.input_stability.labels(each.feature).set(each.stability_index)

    def page(self) -> bytes:
        """The page that Prometheus reads, in its text format."""
        return generate_latest(self.registry)

    @contextmanager
    def exported(self, host: str = "127.0.0.1", port: int = 0) -> Iterator[tuple[str, int]]:
        """The page over HTTP meanwhile; its host and port, a free one where ``port`` is 0."""
        server, thread = start_http_server(port, host, self.registry)
        try:
            yield host, server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def resident_bytes(pid: int | None = None) -> float:
    """Memory of a process now, by default of this one.

    Where the system does not tell, 0 for another process and the peak so far for this one.
    """
    try:
        statm = Path(f"/proc/{pid or 'self'}/statm").read_text(encoding="ascii")
        return float(int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError, IndexError):
        return _without_proc(pid)


def _without_proc(pid: int | None) -> float:
    if pid is not None:  # macOS has no /proc
        command = ["ps", "-o", "rss=", "-p", str(pid)]
        try:
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            return 1024.0 * int(told)
        except (OSError, ValueError, subprocess.CalledProcessError):
            return 0.0
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)

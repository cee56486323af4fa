"""One turn of a monitor: ask the canary, move the charts, show it all to Prometheus.

Call :meth:`Watch.turn` every few minutes, and :meth:`Watch.roll_back` where it raised an alarm.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qlearn.serve.child import Address
from qlearn.serve.client import asker_at
from qlearn.serve.monitor.canary import CanaryResult
from qlearn.serve.monitor.metrics import Metrics
from qlearn.serve.monitor.monitor import Alarm, Monitor
from qlearn.serve.monitor.served import ServedCanary
from qlearn.serve.versions import Versions

ANSWER_TOKENS = 8  # more than any answer of the pocket tasks has


@dataclass
class Watch:
    """Watches the version in use.

    Attributes:
        address: of the server.
        versions: which one is in use.
        canary: what is asked.
        monitor: made from the healthy version.
        metrics: what Prometheus reads.
        size: prompts a turn.
        place: the next prompt; after the last comes the first again.
        last: what the last turn found.
    """

    address: Address
    versions: Versions
    canary: ServedCanary
    monitor: Monitor
    metrics: Metrics
    size: int = 16
    place: int = 0
    last: CanaryResult | None = None

    def turn(self) -> list[Alarm]:
        """Ask the next prompts; the alarms that they raise.

        Raises:
            OSError: where the server does not answer. Nothing is counted then, and the rule
                ``QlearnCanarySilent`` tells if it lasts.
        """
        rows = slice(self.place, min(self.place + self.size, len(self.canary)))
        result = self.ask(self.versions.current, rows)
        raised = self.monitor.see(result)
        self.last = result
        self.metrics.check(result)
        self.metrics.watch(self.monitor, raised)
        self.place = rows.stop % len(self.canary)
        return raised

    def ask(self, folder: Path, rows: slice) -> CanaryResult:
        """Some prompts to a version, in use or not yet."""
        return self.canary.check(folder, asker_at(self.address, folder, ANSWER_TOKENS), rows)

    def complaints(self, folder: Path, prompts: int = 32) -> list[str]:
        """What the charts say of a version before it is released; the running ones don't move."""
        trial = self.monitor.fresh()
        return [str(alarm) for alarm in trial.see(self.ask(folder, slice(0, prompts)))]

    def roll_back(self) -> Path:
        """Serve the version before, with charts that begin anew."""
        folder = self.versions.roll_back()
        self.monitor.restart()
        self.metrics.watch(self.monitor)
        return folder

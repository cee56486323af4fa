"""A real Prometheus for a few minutes: it scrapes, evaluates the rules and says what fires.

Rules wait minutes and look back over minutes. To see them fire in seconds, :func:`faster` divides
all of their times by one factor; scrapes come that much more often too.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from qlearn.numerics.refuse import check_positive
from qlearn.serve.child import LOOPBACK, Child, answers, free_port
from qlearn.serve.monitor.alerts.promtool import write_rules
from qlearn.serve.monitor.alerts.rules import Rule

PATIENCE = 60.0  # seconds until it must answer, and have scraped
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}  # in milliseconds
_DURATION = re.compile(r"\b(\d+)(ms|s|m|h)\b")


def find_prometheus() -> str | None:
    """The program's path, or ``None``: it is in Debian's package ``prometheus``."""
    return shutil.which("prometheus")


def faster(rules: Sequence[Rule], times: float) -> list[Rule]:
    """The same rules, each of their times divided by ``times``.

    Seconds that are compared with a metric, such as a budget, are plain numbers and stay.

    >>> from qlearn.serve.monitor.alerts.rules import alert_rules
    >>> rules = faster(alert_rules({}, 0.005), times=60)
    >>> [rule.wait for rule in rules if rule.name == "QlearnSlow"]
    ['5000ms']
    """
    check_positive(times=times)

    def divided(match: re.Match[str]) -> str:
        return f"{max(1, round(int(match[1]) * _UNITS[match[2]] / times))}ms"

    return [
        replace(
            rule,
            expression=_DURATION.sub(divided, rule.expression),
            wait=_DURATION.sub(divided, rule.wait) if rule.wait != "0s" else rule.wait,
        )
        for rule in rules
    ]


class Prometheus(Child):
    """A Prometheus on loopback, with its data in a temporary folder; use it with ``with``.

    Args:
        rules: that it evaluates.
        target: host and port of the page of metrics.
        every: seconds between two scrapes, and between two evaluations.
        program: its path.

    Raises:
        OSError: where it ends or does not answer; with the last lines of its log.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        target: tuple[str, int],
        every: float = 0.25,
        program: str | None = None,
    ) -> None:
        program = program or find_prometheus()
        if program is None:
            raise FileNotFoundError("prometheus is missing; it is in Debian's package prometheus")
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        file, _ = write_rules(folder, rules)
        every_ms = f"{round(1000 * every)}ms"
        job = {"job_name": "qlearn", "static_configs": [{"targets": [f"{target[0]}:{target[1]}"]}]}
        intervals = dict.fromkeys(("scrape_interval", "evaluation_interval"), every_ms)
        # JSON is YAML.
        config = {
            "global": {**intervals, "scrape_timeout": every_ms},
            "rule_files": [str(file)],
            "scrape_configs": [job],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
        self.address = (LOOPBACK, free_port())
        command = [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={self.address[0]}:{self.address[1]}",
            "--log.level=warn",
        ]
        super().__init__("prometheus, or what it scrapes,", command)
        self.wait(lambda: answers(self.address, "/-/ready"), PATIENCE)
        # It looks for its targets every five seconds: until then all metrics are absent.
        self.wait(lambda: [up["value"][1] for up in self.query("up")] == ["1"], PATIENCE)
        time.sleep(3 * every)
        self._began = time.time()

    def firing(self) -> dict[str, dict[str, str]]:
        """The alerts that fire now: labels by name."""
        alerts = self._get("alerts")["alerts"]
        return {a["labels"]["alertname"]: a["labels"] for a in alerts if a["state"] == "firing"}

    def query(self, expression: str) -> list[dict[str, Any]]:
        """An instant query in PromQL: ``metric`` (labels) and ``value`` (time, text) each."""
        result: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return result

    def ever_fired(self) -> set[str]:
        """Names of the alerts that fired at any evaluation since the first scrape."""
        window = f"{max(1, round(1000 * (time.time() - self._began)))}ms"
        found = self.query(
            f'count by (alertname) (count_over_time(ALERTS{{alertstate="firing"}}[{window}]))'
        )
        return {each["metric"]["alertname"] for each in found}

    def wait_for(self, name: str, patience: float = 30.0, firing: bool = True) -> float | None:
        """Seconds until an alert fires, or no longer does; ``None`` where patience ends first."""
        begin = time.monotonic()
        while (name in self.firing()) != firing:
            if time.monotonic() - begin > patience:
                return None
            time.sleep(0.05)
        return time.monotonic() - begin

    def close(self) -> None:
        """End it and forget its data."""
        super().close()
        self._folder.cleanup()

    def _get(self, path: str, **arguments: str) -> dict[str, Any]:
        url = f"http://{self.address[0]}:{self.address[1]}/api/v1/{path}?{urlencode(arguments)}"
        with urlopen(url, timeout=10) as answer:
            data: dict[str, Any] = json.load(answer)["data"]
        return data

"""Alert rules on disk, and the test of each beside them.

A rule that nobody has seen fire is a hope. ``promtool test rules`` plays made-up series against the
rules and compares the alerts. Here each rule's fault, alone among the series of a healthy server,
must fire that rule alone, and the healthy series none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qlearn import needs
from qlearn.models.long_runs import whole_file
from qlearn.serve.monitor.alerts.rules import Budget, Rule, messages, rules_document

with needs("course"):
    import yaml

RULES, TESTS = "alerts.yml", "alerts_test.yml"


def healthy_series(rules: Sequence[Rule], budget: Budget | None = None) -> dict[str, str]:
    """Series of a server that is well, for all that the rules look at."""
    budget = budget or Budget()
    charts = {series: "0x200" for rule in rules for series in rule.fires if "height" in series}
    bucket = "qlearn_request_seconds_bucket"
    return {
        **charts,
        "qlearn_canary_checked_timestamp_seconds": "0+30x200",
        'qlearn_input_p_value{feature="length"}': "0.5x200",
        f'{bucket}{{le="{budget.seconds:.6g}"}}': "0+10x200",
        f'{bucket}{{le="+Inf"}}': "0+10x200",
        "qlearn_resident_memory_bytes": f"{budget.memory / 2:.10g}x200",
    }


def promtool_document(rules: Sequence[Rule], budget: Budget | None = None) -> dict[str, Any]:
    """A file for ``promtool test rules``: each rule's fault alone fires that rule alone."""
    healthy = healthy_series(rules, budget)
    tests = [_test(rules, healthy, None)]
    tests += [_test(rules, {**healthy, **rule.fires}, rule) for rule in rules]
    return {"rule_files": [RULES], "evaluation_interval": "30s", "tests": tests}


def write_rules(
    folder: str | os.PathLike[str], rules: Sequence[Rule], budget: Budget | None = None
) -> tuple[Path, Path]:
    """Write ``alerts.yml`` and ``alerts_test.yml``; ``promtool test rules`` reads the latter.

    Raises:
        ValueError: for no rules.
        OSError: where the files can't be written.
    """
    if not rules:
        raise ValueError("rules is empty; make some with alert_rules")
    head = (
        "# Written by qlearn.serve.monitor.alerts.rules from a monitor's thresholds; do not edit.\n"
    )
    paths = []
    for name, content in (
        (RULES, rules_document(rules)),
        (TESTS, promtool_document(rules, budget)),
    ):
        path = Path(folder) / name
        with whole_file(path) as new:
            text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
            new.write_text(head + text, encoding="utf-8")
        paths.append(path)
    return paths[0], paths[1]


def _test(rules: Sequence[Rule], series: Mapping[str, str], fired: Rule | None) -> dict[str, Any]:
    checks = []
    for rule in rules:
        expected = []
        if rule is fired:
            labels = {"severity": rule.severity, **rule.labels}
            expected = [{"exp_labels": labels, "exp_annotations": messages(rule)}]
        check = {"eval_time": "30m", "alertname": rule.name, "exp_alerts": expected}
        checks.append(check)
    return {
        "name": fired.name if fired else "healthy",
        "interval": "30s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": checks,
    }

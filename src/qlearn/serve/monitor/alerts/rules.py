"""Alert rules for Prometheus, written from a monitor's own thresholds.

The charts do the statistics; a rule says what is done about it: who is woken, when, and what to
do. Each rule carries the series that fire it, from which
:mod:`qlearn.serve.monitor.alerts.promtool` makes its test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qlearn.numerics.refuse import check_positive

_TITLES = {
    "kl": ("QlearnCanaryDivergence", "The served model has moved away from the original"),
    "surprise": ("QlearnCanarySurprise", "The canary's texts surprise the served model more"),
    "answers": ("QlearnCanaryAnswers", "The served model misses answers that it knew"),
}


@dataclass(frozen=True)
class Budget:
    """What a server may take.

    Attributes:
        seconds: 95 of 100 requests end within.
        memory: bytes of the server's process.
        silence: minutes without a canary prompt, after which the watcher itself is watched.
    """

    seconds: float = 2.0
    memory: float = 1.6e9
    silence: float = 15

    def __post_init__(self) -> None:
        check_positive(seconds=self.seconds, memory=self.memory, silence=self.silence)


@dataclass(frozen=True)
class Rule:
    """An alert, and series that fire it.

    Attributes:
        name: of the alert.
        expression: in PromQL.
        wait: how long it must hold, such as ``"5m"``.
        severity: ``"page"`` wakes somebody, ``"ticket"`` waits for the morning.
        summary: what has happened.
        action: what to do.
        fires: series, in promtool's notation, that fire it within half an hour.
        labels: that the alert then has besides its severity.
    """

    name: str
    expression: str
    wait: str
    severity: str
    summary: str
    action: str
    fires: Mapping[str, str]
    labels: Mapping[str, str]


def alert_rules(
    thresholds: Mapping[str, float], input_limit: float, budget: Budget | None = None
) -> list[Rule]:
    """The rules of one monitor.

    Args:
        thresholds: of its charts by name: ``{name: chart.threshold for ...}``.
        input_limit: p-value of an :class:`qlearn.serve.monitor.inputs.InputWatch` below which
            inputs have drifted.
        budget: what the server may take.

    Raises:
        ValueError: for a chart of another name, or a number that is not positive.
    """
    budget = budget or Budget()
    check_positive(input_limit=input_limit)
    rules = []
    for chart, threshold in thresholds.items():
        if chart not in _TITLES:
            raise ValueError(f"thresholds names {chart!r}; charts are {', '.join(_TITLES)}")
        check_positive(**{chart: threshold})
        name, summary = _TITLES[chart]
        series = f'qlearn_chart_height{{chart="{chart}"}}'
        rules.append(
            Rule(
                name,
                f"{series} > {threshold:.6g}",
                "0s",  # the chart has waited already: that is what its threshold is for
                "page",
                summary,
                "Roll back to the last model that passed, then compare weights and tokenizer.",
                {series: f"0x20 {threshold + 1:.6g}x100"},
                {"chart": chart},
            )
        )
    bucket = "qlearn_request_seconds_bucket"
    # A time, not the growth of a counter: that is 0 whenever Prometheus saw two scrapes only.
    checked = "qlearn_canary_checked_timestamp_seconds"
    return [
        *rules,
        Rule(
            "QlearnCanarySilent",
            f"time() - {checked} > {60 * budget.silence:.6g} or absent({checked})",
            "1m",  # until the first scrape after its start Prometheus knows of nothing
            "page",
            "No canary prompt was checked: no news is no good news",
            "Look whether the server and the canary's loop run.",
            {checked: "0x200"},
            {},
        ),
        Rule(
            "QlearnInputsDrifted",
            f"qlearn_input_p_value < {input_limit:.6g}",
            "0s",
            "ticket",
            "Prompts are no longer those that the model was measured on",
            "Where the canary is quiet the model is as it was: measure it on the new prompts.",
            {'qlearn_input_p_value{feature="length"}': f"0.5x20 {input_limit / 2:.6g}x100"},
            {"feature": "length"},
        ),
        Rule(
            "QlearnSlow",
            f"histogram_quantile(0.95, sum by (le) (rate({bucket}[5m]))) > {budget.seconds:.6g}",
            "5m",
            "page",
            "One request in twenty takes longer than the budget",
            "Compare load and batch size with the last measurement under load.",
            {
                f'{bucket}{{le="{budget.seconds:.6g}"}}': "0x200",
                f'{bucket}{{le="{budget.seconds * 2:.6g}"}}': "0+10x200",
                f'{bucket}{{le="+Inf"}}': "0+10x200",
            },
            {},
        ),
        Rule(
            "QlearnMemory",
            f"qlearn_resident_memory_bytes > {budget.memory:.10g}",
            "5m",
            "page",
            "The server takes more memory than its budget",
            "Look for longer contexts, more of them at once, or weights that were dequantized.",
            {"qlearn_resident_memory_bytes": f"{budget.memory * 1.1:.10g}x200"},
            {},
        ),
    ]


def rules_document(rules: Sequence[Rule]) -> dict[str, Any]:
    """The rules as Prometheus' rule file holds them."""
    return {
        "groups": [
            {
                "name": "qlearn",
                "rules": [
                    {
                        "alert": rule.name,
                        "expr": rule.expression,
                        "for": rule.wait,
                        "labels": {"severity": rule.severity},
                        "annotations": messages(rule),
                    }
                    for rule in rules
                ],
            }
        ]
    }


def messages(rule: Rule) -> dict[str, str]:
    """What an alert says."""
    return {"summary": rule.summary, "action": rule.action}

"""Is the served model still the one that was released?"""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "monitor": ["Monitor", "make_monitor"],
        "inputs": ["InputWatch", "prompt_features"],
        "make": ["question_canary"],
        "metrics": ["Metrics"],
        "served": ["Renumbered", "numbering", "served_canary"],
        "watch": ["Watch"],
        "charts.cumulative_sums": ["average_run_length", "cusum", "first_alarm", "normal"],
        "alerts.rules": ["alert_rules"],
        "alerts.prometheus": ["Prometheus", "faster", "find_prometheus"],
    },
)

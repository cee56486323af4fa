"""From measured and published losses to a recommendation."""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "quality": ["find_level", "loss_of", "pareto_front", "quality_table"],
        "advice": ["recommend"],
        "evidence": ["published"],
        "pocket": [
            "KINDS",
            "by_kind",
            "compare_measures",
            "equal_bytes",
            "falls_at",
            "lost_points",
        ],
        "forecast": ["expected_loss"],
    },
)

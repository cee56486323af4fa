"""Chapter 12: the tools beside each other."""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "tools": [
            "ONE_GRID",
            "SIZE_AND_LOSS",
            "SPEED",
            "failure_sentence",
            "loss_sentence",
            "ranked",
            "size_sentence",
            "speed_sentence",
            "tool_rows",
            "working",
        ],
        "figure": ["COSTS", "LOSSES", "tools_figure", "tools_sentence"],
        "table": ["ToolCards", "tools_table"],
        "roofline": ["roofline_figure", "roofline_sentence"],
    },
)

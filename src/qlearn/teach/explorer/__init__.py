"""Sliders over figures, live in a kernel and static on a page."""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "explorer": ["Explorer", "StillFigure", "show"],
        "formula": ["choice", "ratio"],
    },
)

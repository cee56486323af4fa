"""Chapter 3: groups and their scales."""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "granularity": ["GROUP_SIZES", "LANDING_TILE", "granularity_explorer"],
        "figures": ["tradeoff"],
    },
)

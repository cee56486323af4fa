"""What the article recommends, as rules and calls that can be run."""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "rules": ["article_for", "side_by_side"],
        "call": ["article_calls", "article_folders"],
    },
)

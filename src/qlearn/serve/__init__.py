"""A served model: server, client, load, versions."""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "server": ["Server"],
        "client": ["complete"],
        "load": ["arrivals", "closed_loop", "open_loop"],
        "summary": ["percentile", "summarize"],
        "versions": ["Versions", "digests"],
    },
)

"""Is an answer right, and if not, which mistake does it show?"""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "exercise": ["Exercise"],
        "verdict": ["Verdict"],
        "checker": ["check"],
        "proof": ["prove"],
    },
)

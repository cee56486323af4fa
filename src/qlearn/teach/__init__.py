"""What any course could use: explorers, figures, checked exercises; nothing of quantization."""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "explorer.explorer": ["Explorer", "show"],
        "checks.exercise": ["Exercise"],
        "checks.verdict": ["Verdict"],
        "checks.checker": ["check"],
    },
)

"""Quantized models on disk: written, read back, looked into."""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "save": ["save_quantized"],
        "load": ["load_quantized"],
    },
)

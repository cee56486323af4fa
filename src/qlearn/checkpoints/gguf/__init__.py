"""GGUF, llama.cpp's one file."""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "container": ["open_gguf"],
        "load": ["load_gguf"],
    },
)

"""What a checkpoint's name, configuration and tensors say of it."""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "config": ["read_config"],
        "folder": ["look_inside"],
        "name": ["read_name"],
    },
)

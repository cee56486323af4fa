"""Bytes of a model while it generates or learns, on the devices that there are."""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "inference": [
            "estimate_memory",
            "article_estimate",
            "decode_speed_bound",
            "kv_bytes_per_token",
            "largest_context",
            "quantized_kv_bits",
            "step_bytes",
        ],
        "finetune": ["ARCHITECTURES", "METHODS", "finetune_memory"],
        "architectures": ["MODELS"],
        "devices": ["DEVICES"],
    },
)

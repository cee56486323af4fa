"""One layer's algorithm: GPTQ, AWQ, SmoothQuant, QAT, LoRA; torch alone."""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "gptq": ["gptq_quantize", "inverse_factor", "layer_loss"],
        "gptq_naive": ["obs_quantize"],
        "awq": ["awq_search", "channel_scales", "clip", "output_error", "search_clipping"],
        "smoothquant": ["smoothing_scales"],
        "qat": ["straight_through", "lsq_factor", "lsq_scale"],
        "lora": ["add_lora", "merge_lora", "trainable_parameters"],
        "lora_files": ["save_adapters", "load_adapters"],
    },
)

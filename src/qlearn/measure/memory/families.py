"""From a configuration to an :class:`~qlearn.measure.memory.sizes.Architecture`.

Ten families have a formula: what their configurations call things, and which parts they have. Any
other is counted on a model without memory (torch's meta device).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from qlearn import needs
from qlearn.measure.memory.sizes import Architecture

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

Config = Mapping[str, Any]


def from_mapping(config: Config, name: str, title: str = "", source: str = "") -> Architecture:
    """Read a configuration of a family that has a formula, as config.json holds it.

    Raises:
        ValueError: another family, or an entry that is missing.
    """
    family = config.get("model_type")
    if family not in FAMILIES or not has_formula(config):
        raise ValueError(
            f"model_type={family!r} of {name!r} has no formula here ({', '.join(FAMILIES)}); "
            "pass its transformers configuration, which is then counted"
        )
    try:
        sizes = FAMILIES[family](config)
    except KeyError as error:
        raise ValueError(
            f"the configuration of {name!r} has no entry {error}; take the published config.json"
        ) from error
    return Architecture(name=name, family=family, title=title or name, source=source, **sizes)


def has_formula(config: Config) -> bool:
    """Whether the family is one of ten, and no option adds parts that its formula leaves out."""
    return config.get("model_type") in FAMILIES and not (
        config.get("qk_layernorm")
        or config.get("add_cross_attention")
        or config.get("layer_norm_elementwise_affine") is False
    )


def _llama(config: Config) -> dict[str, Any]:
    """What the descendants of Llama share."""
    heads, layers = config["num_attention_heads"], config["num_hidden_layers"]
    bias = bool(config.get("attention_bias"))
    return {
        "layers": layers,
        "hidden": config["hidden_size"],
        "mlp": config["intermediate_size"],
        "heads": heads,
        "kv_heads": config.get("num_key_value_heads") or heads,
        "vocab": config["vocab_size"],
        "head_dim": config.get("head_dim") or 0,
        "tied": bool(config["tie_word_embeddings"]),
        "qkv_bias": bias,
        "output_bias": bias,
        "mlp_bias": bool(config.get("mlp_bias")),
        "context": config["max_position_embeddings"],
        **_windows(config, layers),
    }


def _windows(config: Config, every: int) -> dict[str, int]:
    """The window and how many layers have it; ``every`` where the configuration lists no layers."""
    window = config.get("sliding_window")
    if not window or config.get("use_sliding_window") is False:
        return {}
    kinds = config.get("layer_types")
    windowed = sum(kind == "sliding_attention" for kind in kinds) if kinds else every
    return {"window": window, "windowed": windowed} if windowed else {}


def _qwen2(config: Config) -> dict[str, Any]:
    window = {}
    if config.get("use_sliding_window"):
        window = _windows(config, max(0, config["num_hidden_layers"] - config["max_window_layers"]))
    sizes = {**_llama({**config, "sliding_window": None}), **window}
    return {**sizes, "qkv_bias": True}


def _mixtral(config: Config) -> dict[str, Any]:
    experts = {
        "experts": config["num_local_experts"],
        "experts_per_token": config["num_experts_per_tok"],
    }
    return {**_llama(config), **experts}


def _gemma2(config: Config) -> dict[str, Any]:
    alternate = _windows(config, (config["num_hidden_layers"] + 1) // 2)
    return {**_llama(config), "norms": 4, **alternate}


def _phi(config: Config) -> dict[str, Any]:
    biases = dict.fromkeys(("qkv_bias", "output_bias", "mlp_bias", "head_bias", "norm_bias"), True)
    return {**_llama(config), **biases, "gated": False, "norms": 1}


def _phi3(config: Config) -> dict[str, Any]:
    return {**_llama(config), "fused_qkv": True, "fused_gate": True}


def _opt(config: Config) -> dict[str, Any]:
    bias = bool(config.get("enable_bias", True))
    return {
        "layers": config["num_hidden_layers"],
        "hidden": config["hidden_size"],
        "mlp": config["ffn_dim"],
        "heads": config["num_attention_heads"],
        "kv_heads": config["num_attention_heads"],
        "vocab": config["vocab_size"],
        "tied": bool(config["tie_word_embeddings"]),
        "gated": False,
        **dict.fromkeys(("qkv_bias", "output_bias", "mlp_bias"), bias),
        "norm_bias": True,
        "final_norm": config["do_layer_norm_before"] and not config.get("_remove_final_layer_norm"),
        "positions": config["max_position_embeddings"] + 2,  # the first two rows are never used
        "word_width": config["word_embed_proj_dim"],
        "context": config["max_position_embeddings"],
    }


def _gpt2(config: Config) -> dict[str, Any]:
    return {
        "layers": config["n_layer"],
        "hidden": config["n_embd"],
        "mlp": config.get("n_inner") or 4 * config["n_embd"],
        "heads": config["n_head"],
        "kv_heads": config["n_head"],
        "vocab": config["vocab_size"],
        "tied": bool(config["tie_word_embeddings"]),
        "gated": False,
        **dict.fromkeys(("qkv_bias", "output_bias", "mlp_bias", "norm_bias", "fused_qkv"), True),
        "positions": config["n_positions"],
        "context": config["n_positions"],
    }


FAMILIES: dict[str, Callable[[Config], dict[str, Any]]] = {
    "llama": _llama,
    "mistral": _llama,
    "mixtral": _mixtral,
    "qwen2": _qwen2,
    "gemma": _llama,
    "gemma2": _gemma2,
    "phi": _phi,
    "phi3": _phi3,
    "opt": _opt,
    "gpt2": _gpt2,
}


def from_config(config: PreTrainedConfig) -> Architecture:
    """Read a transformers configuration; count its model where the family has no formula.

    Raises:
        ValueError: a model that keeps no ordinary KV cache, or that transformers can't build.
    """
    decoder = config.get_text_config(decoder=True)
    entries = decoder.to_dict()
    name = getattr(config, "_name_or_path", "") or decoder.model_type
    if has_formula(entries):
        return from_mapping(entries, name)
    return _count(decoder, entries, name)


def _count(config: PreTrainedConfig, entries: Config, name: str) -> Architecture:
    import torch

    with needs("course"):
        from transformers import AutoModelForCausalLM

    from qlearn.models.blocks import block_linears, find_blocks, weight_of

    other = sorted({*(entries.get("layer_types") or ())} - {"full_attention", "sliding_attention"})
    other += ["latent attention"] if entries.get("kv_lora_rank") else []
    if other or entries.get("is_encoder_decoder"):
        raise ValueError(
            f"model_type={config.model_type!r} ({', '.join(other) or 'encoder and decoder'}) keeps "
            "no cache of all keys and values; pass an Architecture of your own"
        )
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        shapes = [tuple(weight_of(layer).shape) for layer in block_linears(model).values()]
    except Exception as error:
        raise ValueError(
            f"model_type={config.model_type!r} can't be counted ({str(error).strip()[:120]}); "
            "pass an Architecture of your own"
        ) from error
    # Mixtures hold all experts of a block in one tensor of three axes, which is no linear layer.
    for key, parameter in find_blocks(model)[1].named_parameters():
        if "expert" in key and parameter.ndim == 3:
            shapes += [tuple(parameter.shape[1:])] * parameter.shape[0]
    linear = sum(a * b for a, b in shapes)
    total = sum(parameter.numel() for parameter in model.parameters())
    heads = config.num_attention_heads
    sizes: dict[str, Any] = {
        "layers": config.num_hidden_layers,
        "hidden": config.hidden_size,
        "mlp": getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        "heads": heads,
        "kv_heads": getattr(config, "num_key_value_heads", None) or heads,
        "vocab": config.vocab_size,
        "head_dim": getattr(config, "head_dim", None) or 0,
        "tied": bool(config.tie_word_embeddings),
        "context": getattr(config, "max_position_embeddings", None) or 0,
        **_windows(entries, config.num_hidden_layers),
    }
    counted = linear, total, sum(a + b for a, b in shapes)
    return Architecture(name=name, family=config.model_type, title=name, counted=counted, **sizes)

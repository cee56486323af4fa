"""How GGUF describes a Llama: names of tensors, metadata, and the order of rows that RoPE wants.

RoPE turns pairs of a head's numbers. transformers pairs number ``i`` with ``i + half``, llama.cpp
each one with its neighbour, so the rows of ``q_proj`` and ``k_proj`` are stored in another order.

Source: llama.cpp's ``convert_hf_to_gguf.py``; the keys are in ggml's ``docs/gguf.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

ARCHITECTURE = "llama"
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
BLOCK_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def tensor_names(blocks: int) -> dict[str, str]:
    """GGUF's names by transformers', for a Llama of so many transformer blocks.

    >>> tensor_names(1)["model.layers.0.mlp.up_proj.weight"]
    'blk.0.ffn_up.weight'
    """
    names = dict(NAMES)
    for block in range(blocks):
        for ours, theirs in BLOCK_NAMES.items():
            names[f"model.layers.{block}.{ours}"] = f"blk.{block}.{theirs}"
    return {f"{ours}.weight": f"{theirs}.weight" for ours, theirs in names.items()}


def check_llama(config: Any, tensors: Iterable[str]) -> None:
    """Raise a ValueError for a model that llama.cpp and transformers would not read as it is.

    Args:
        config: of the model.
        tensors: names of all that it stores.
    """
    kind, remedy = config.model_type, "choose another format, such as 'compressed-tensors'"
    if kind != ARCHITECTURE:
        raise ValueError(
            f"model_type={kind!r} is not written as GGUF here, {ARCHITECTURE!r} alone is; {remedy}"
        )
    if config.hidden_act != "silu":
        raise ValueError(
            f"hidden_act={config.hidden_act!r}: a Llama in a GGUF file has 'silu'; {remedy}"
        )
    rope = _rope(config)
    rotated = rope.get("partial_rotary_factor", 1.0)
    if rope.get("rope_type", "default") != "default" or rotated != 1.0:
        raise ValueError(
            f"rope_parameters={rope} scale or shorten RoPE, which transformers does not find in a "
            f"GGUF file; {remedy}"
        )
    known = tensor_names(config.num_hidden_layers)
    for name in tensors:
        if name not in known:
            raise ValueError(
                f"tensor {name!r} has no place in the GGUF file of a Llama, or transformers does "
                f"not look for it; {remedy}"
            )


def metadata(config: Any) -> dict[str, int | float]:
    """What a reader must know to build the model; whole numbers are uint32, others float32."""
    head = head_size(config)
    return {
        "vocab_size": config.vocab_size,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.dimension_count": head,
        "rope.freq_base": float(_rope(config).get("rope_theta", 10000.0)),
    }


def read_config(found: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The inverse of :func:`metadata`: arguments for a ``LlamaConfig``.

    Args:
        found: a file's metadata; arrays may be left out.
        tensors: shapes of its tensors, by name.

    Raises:
        KeyError: for what a Llama can't do without.
        ValueError: for more transformer blocks than the file holds.
    """
    own = {key.removeprefix(f"{ARCHITECTURE}."): value for key, value in found.items()}
    heads, blocks = own["attention.head_count"], own["block_count"]
    # Before a model of billions of blocks is built out of a damaged number.
    if f"blk.{blocks - 1}.attn_q.weight" not in tensors:
        raise ValueError(f"block_count={blocks}, which its tensors do not bear out")
    return {
        "vocab_size": tensors["token_embd.weight"][0],
        "hidden_size": own["embedding_length"],
        "max_position_embeddings": own["context_length"],
        "num_hidden_layers": blocks,
        "intermediate_size": own["feed_forward_length"],
        "num_attention_heads": heads,
        "num_key_value_heads": own.get("attention.head_count_kv", heads),
        "head_dim": own.get("rope.dimension_count", own["embedding_length"] // heads),
        "rms_norm_eps": own["attention.layer_norm_rms_epsilon"],
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": own.get("rope.freq_base", 10000.0),
        },
        "tie_word_embeddings": "output.weight" not in tensors,
        "bos_token_id": found.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": found.get("tokenizer.ggml.eos_token_id"),
        "pad_token_id": found.get("tokenizer.ggml.padding_token_id"),
    }


def head_size(config: Any) -> int:
    """Numbers in an attention head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def stored_rows(name: str, config: Any) -> Tensor | None:
    """Which row of transformers' tensor stands in each row of GGUF's; ``None``: the same.

    Args:
        name: of the tensor, transformers' or GGUF's.
        config: of the model.
    """
    heads = None
    if ".q_proj." in name or ".attn_q." in name:
        heads = config.num_attention_heads
    elif ".k_proj." in name or ".attn_k." in name:
        heads = config.num_key_value_heads
    if heads is None:
        return None
    half = head_size(config) // 2
    # Within a head: halves of neighbours become neighbours from the two halves.
    return torch.arange(heads * 2 * half).view(heads, 2, half).transpose(1, 2).reshape(-1)


def _rope(config: Any) -> dict[str, Any]:
    return getattr(config, "rope_parameters", None) or {}

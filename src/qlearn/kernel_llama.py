"""A Llama whose blocks take fewer calls: what a small model's decode step is spent on.

At batch 1 every call on a tensor costs some microseconds, whatever it computes. A block of
transformers' Llama makes about a hundred of them, and once the weights are a quarter of their
bytes, the calls cost more than the bytes do. :func:`fuse_layers` merges them and changes no
arithmetic but the order of a few roundings: one product for queries, keys and values, one for the
MLP's gate and up projection, one call a norm, and rotary positions of queries and keys together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaMLP, LlamaRMSNorm

from qlearn.affine import QuantizedTensor
from qlearn.blocks import set_module
from qlearn.export_layout import quantized_tensor
from qlearn.layers import QuantizedLinear


class FusedAttention(nn.Module):
    """A ``LlamaAttention`` with one projection for queries, keys and values."""

    def __init__(self, attention: LlamaAttention) -> None:
        super().__init__()
        config: Any = attention.config  # transformers types its fields as optional
        self.layer_idx, self.scaling = attention.layer_idx, attention.scaling
        self.head_dim = attention.head_dim
        self.heads = (config.num_attention_heads, config.num_key_value_heads)
        self.qkv_proj = merge(attention.q_proj, attention.k_proj, attention.v_proj)
        self.o_proj = attention.o_proj

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        """``hidden_states`` ``[batch, tokens, hidden]`` to the same shape; no attention weights."""
        batch, tokens = hidden_states.shape[:2]
        queries, keys = self.heads
        states = self.qkv_proj(hidden_states)
        states = states.view(batch, tokens, queries + 2 * keys, self.head_dim).transpose(1, 2)
        turned, value = states.split((queries + keys, keys), dim=1)
        cos, sin = position_embeddings
        query, key = rotate(turned, cos[:, None], sin[:, None]).split((queries, keys), dim=1)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        causal = attention_mask is None and tokens > 1
        output = F.scaled_dot_product_attention(
            query, key, value, attention_mask, 0.0, causal, scale=self.scaling, enable_gqa=True
        )
        return self.o_proj(output.transpose(1, 2).reshape(batch, tokens, -1)), None


class FusedMLP(nn.Module):
    """A ``LlamaMLP`` with one projection for gate and up."""

    def __init__(self, mlp: LlamaMLP) -> None:
        super().__init__()
        self.gate_up_proj = merge(mlp.gate_proj, mlp.up_proj)
        self.down_proj, self.act_fn = mlp.down_proj, mlp.act_fn

    def forward(self, x: Tensor) -> Tensor:
        """``[..., hidden]`` to the same shape."""
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        output: Tensor = self.down_proj(self.act_fn(gate) * up)
        return output


def rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs ``(i, i + head_dim / 2)`` of ``states`` ``[..., head_dim]`` by their angles.

    ``x cos + rotate_half(x) sin``, as transformers computes it; the half that ``rotate_half``
    negates is rolled here, and its sign goes into the few sines.
    """
    half = states.shape[-1] // 2
    sin = torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)
    return states * cos + states.roll(half, -1) * sin


def merge(*layers: Any) -> nn.Module:
    """One layer whose outputs are those of all ``layers``, in their order.

    Raises:
        ValueError: for layers that are not of one kind; :func:`fuse_layers` leaves such alone.
    """
    reason = _apart(layers)
    if reason:
        raise ValueError(f"layers={[type(layer).__name__ for layer in layers]}: {reason}")
    biases = [layer.bias for layer in layers]
    bias = None if biases[0] is None else torch.cat(biases).detach()
    if isinstance(layers[0], QuantizedLinear):
        parts = [quantized_tensor(layer) for layer in layers]
        codes, scale, zero_point = (
            torch.cat([getattr(part, name) for part in parts])
            for name in ("codes", "scale", "zero_point")
        )
        whole = QuantizedTensor(codes, scale, zero_point, layers[0].scheme, codes.shape)
        return QuantizedLinear(whole, bias)
    weight = torch.cat([layer.weight for layer in layers]).detach()
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias, requires_grad=False)
    return made


def fuse_layers(model: nn.Module) -> dict[str, str]:
    """Merge what a Llama's blocks compute in several calls; the model is changed.

    Call it after :func:`qlearn.quantize_model` and before :func:`qlearn.kernel_linear.use_kernels`:
    the merged layers are ``nn.Linear`` or ``QuantizedLinear`` as before, with the same codes. For
    inference alone: no dropout, no attention weights, and no export, which needs the layers' names.

    Returns:
        The attentions and MLPs that stay as they are, and why.

    Raises:
        ValueError: for a model without a ``LlamaAttention``.
    """
    modules = dict(model.named_modules())
    if not any(type(module) is LlamaAttention for module in modules.values()):
        raise ValueError(
            f"model={type(model).__name__} is no Llama with layers to merge; use it as it is"
        )
    kept = {}
    for name, module in modules.items():
        if type(module) is LlamaRMSNorm:
            norm = nn.RMSNorm(len(module.weight), module.variance_epsilon, device="meta")
            norm.weight = module.weight
            set_module(model, name, norm)
        elif type(module) is LlamaAttention:
            reason = _apart((module.q_proj, module.k_proj, module.v_proj))
            if not reason and module.config._attn_implementation not in ("sdpa", "eager"):
                reason = f"attn_implementation={module.config._attn_implementation!r} is not 'sdpa'"
            if reason:
                kept[name] = reason
            else:
                set_module(model, name, FusedAttention(module))
        elif type(module) is LlamaMLP:
            reason = _apart((module.gate_proj, module.up_proj))
            if reason:
                kept[name] = reason
            else:
                set_module(model, name, FusedMLP(module))
    return kept


def _apart(layers: tuple[Any, ...]) -> str:
    """Why these layers can't be one; an empty string where they can."""
    first = layers[0]
    if type(first) not in (nn.Linear, QuantizedLinear):
        return f"{type(first).__name__} is neither an nn.Linear nor a QuantizedLinear"
    if any(type(layer) is not type(first) for layer in layers):
        return "some are quantized, some are not"
    schemes = {str(getattr(layer, "scheme", None)) for layer in layers}
    if len(schemes) > 1:
        return f"their schemes differ: {', '.join(sorted(schemes))}"
    if getattr(getattr(first, "scheme", None), "group_size", None) == "tensor":
        return "each has one scale for all of its weight"
    return ""

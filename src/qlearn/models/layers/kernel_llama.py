"""A Llama whose blocks take fewer calls: what a small model's decode step is spent on.

At batch 1 every call on a tensor costs some microseconds, whatever it computes, and so does every
call of a module. A block of transformers' Llama makes about a hundred of them, and once the weights
are a quarter of their bytes, the calls cost more than the bytes do. :func:`fuse_layers` merges them
and changes no arithmetic but the order of a few roundings: one product for queries, keys and
values, one for the MLP's gate and up projection, one call a norm, rotary positions of queries and
keys together, and no module within a block but its four products.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qlearn import needs
from qlearn.models.blocks import set_module
from qlearn.models.layers.affine import QuantizedLinear, quantized_tensor
from qlearn.numerics.affine import QuantizedTensor

with needs("course"):
    from transformers.models.llama.modeling_llama import (
        LlamaDecoderLayer,
        LlamaRMSNorm,
        LlamaRotaryEmbedding,
    )


class FusedBlock(LlamaDecoderLayer):  # a kind of it, so that its outputs count as hidden states
    """A ``LlamaDecoderLayer`` with four products and one call a norm.

    Rotary positions come from a :class:`SignedRotary`.
    """

    def __init__(self, block: LlamaDecoderLayer) -> None:
        nn.Module.__init__(self)
        attention, mlp = block.self_attn, block.mlp
        config: Any = attention.config  # transformers types its fields as optional
        self.layer_idx, self.scaling = attention.layer_idx, attention.scaling
        self.head_dim = attention.head_dim
        self.heads = (config.num_attention_heads, config.num_key_value_heads)
        self.qkv_proj = merge(attention.q_proj, attention.k_proj, attention.v_proj)
        self.o_proj = attention.o_proj
        self.gate_up_proj = merge(mlp.gate_proj, mlp.up_proj)
        self.down_proj, self.act_fn = mlp.down_proj, mlp.act_fn
        self.eps = block.input_layernorm.variance_epsilon
        self.input_norm = twice(block.input_layernorm)
        self.post_attention_norm = twice(block.post_attention_layernorm)

    def forward(  # type: ignore[override]
        self,
        hidden_states: Tensor,
        *,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **_: Any,
    ) -> Tensor:
        """``hidden_states`` ``[batch, tokens, hidden]`` to the same shape."""
        batch, tokens, _width = hidden_states.shape
        queries, keys = self.heads
        states = self.qkv_proj(rms_norm(hidden_states, self.input_norm, self.eps))
        states = states.view(batch, tokens, queries + 2 * keys, self.head_dim).transpose(1, 2)
        turned, value = states.split_with_sizes((queries + keys, keys), dim=1)
        query, key = rotate(turned, *position_embeddings).split_with_sizes((queries, keys), dim=1)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        causal = attention_mask is None and tokens > 1
        output = F.scaled_dot_product_attention(
            query, key, value, attention_mask, 0.0, causal, scale=self.scaling, enable_gqa=True
        )
        output = self.o_proj(output.transpose(1, 2).reshape(batch, tokens, -1))
        hidden_states = hidden_states + output
        inner = self.gate_up_proj(rms_norm(hidden_states, self.post_attention_norm, self.eps))
        gate, up = inner.chunk(2, dim=-1)
        return hidden_states + self.down_proj(self.act_fn(gate).mul_(up))


class FusedNorm(nn.Module):
    """A ``LlamaRMSNorm`` in fewer calls."""

    def __init__(self, norm: LlamaRMSNorm) -> None:
        super().__init__()
        self.weight, self.eps = twice(norm), norm.variance_epsilon

    def forward(self, states: Tensor) -> Tensor:
        """``[..., hidden]`` to the same shape."""
        return rms_norm(states, self.weight, self.eps)


class SignedRotary(nn.Module):
    """Cosines and sines of a Llama's rotary module, as :func:`rotate` takes them."""

    def __init__(self, rotary: nn.Module) -> None:
        super().__init__()
        self.rotary = rotary

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Two tensors ``[batch, 1, tokens, head_dim]``."""
        cos, sin = self.rotary(*args, **kwargs)
        first, second = sin.chunk(2, dim=-1)
        return cos[:, None], torch.cat((-first, second), dim=-1)[:, None]


def rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs ``(i, i + head_dim / 2)`` of ``states`` ``[..., head_dim]`` by their angles.

    ``x cos + rotate_half(x) sin``, as transformers computes it. The half that ``rotate_half``
    negates is rolled here, and its sign is in the first half of ``sin``.
    """
    return torch.addcmul(states * cos, states.roll(states.shape[-1] // 2, -1), sin)


def rms_norm(states: Tensor, weight: Tensor, eps: float) -> Tensor:
    """``x / sqrt(mean(x^2) + eps) * weight`` by torch's layer norm, which is one kernel.

    Of ``x`` and ``-x`` together the mean is 0 and the variance the mean of ``x^2``; the first half
    of their layer norm is what is wanted. torch's own ``rms_norm`` takes eight calls on a CPU.

    Args:
        states: ``[..., hidden]``.
        weight: ``[2 * hidden]``, the norm's weight twice.
    """
    hidden = states.shape[-1]
    both = torch.cat((states, -states), dim=-1)
    return torch.native_layer_norm(both, (2 * hidden,), weight, None, eps)[0][..., :hidden]


def twice(norm: LlamaRMSNorm) -> nn.Parameter:
    """A norm's weight as :func:`rms_norm` takes it."""
    return nn.Parameter(norm.weight.detach().repeat(2), requires_grad=False)


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

    Call it after :func:`qlearn.quantize_model` and before
    :func:`qlearn.models.layers.kernel.use_kernels`: the merged layers are ``nn.Linear`` or
    ``QuantizedLinear`` as before, with the same codes. For
    inference alone: no dropout, no attention weights, and no export, which needs the layers' names.

    Returns:
        The blocks that can't be merged, and why. Where there is one, all stay as they are.

    Raises:
        ValueError: for a model without a ``LlamaDecoderLayer``.
    """
    modules = dict(model.named_modules())
    blocks = {name: each for name, each in modules.items() if type(each) is LlamaDecoderLayer}
    if not blocks:
        raise ValueError(
            f"model={type(model).__name__} is no Llama with layers to merge; use it as it is"
        )
    kept = {name: reason for name, block in blocks.items() if (reason := _obstacle(block))}
    if kept:
        return kept
    for name, block in blocks.items():
        set_module(model, name, FusedBlock(block))
    for name, module in dict(model.named_modules()).items():
        if type(module) is LlamaRMSNorm:
            set_module(model, name, FusedNorm(module))
        elif type(module) is LlamaRotaryEmbedding:
            set_module(model, name, SignedRotary(module))
    return {}


def _obstacle(block: LlamaDecoderLayer) -> str:
    """Why a block can't be merged; an empty string where it can."""
    attention, mlp = block.self_attn, block.mlp
    reason = _apart((attention.q_proj, attention.k_proj, attention.v_proj))
    reason = reason or _apart((mlp.gate_proj, mlp.up_proj))
    way = attention.config._attn_implementation
    if not reason and way not in ("sdpa", "eager"):
        reason = f"attn_implementation={way!r} is not 'sdpa'"
    return reason


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

"""Layers that torch's kernels compute, each checked against the dequantized product."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qlearn import QuantizedLinear, QuantScheme, quantize_model
from qlearn.models.blocks import block_linears
from qlearn.models.layers.kernel import KernelLinear, use_kernels

EIGHT, FOUR = QuantScheme(8, True, None, "restricted"), QuantScheme(4, False, 64)
BF16 = torch.bfloat16


def scheme_for(bits: int, *widths: int) -> QuantScheme:
    """Groups of 64 at 4 bits, or of 32 where 64 does not divide a layer's width."""
    if bits == 8:
        return EIGHT
    return FOUR if all(width % 64 == 0 for width in widths) else QuantScheme(4, False, 32)


def make(weight: Tensor, bits: int) -> KernelLinear:
    """Round ``weight`` ``[out, in]`` to the nearest codes, and check the kernel that takes them."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight.data = weight.float()
    plain = QuantizedLinear.from_linear(linear, scheme_for(bits, weight.shape[1]))
    layer = KernelLinear(plain)
    check_product(layer, plain.dequantize(), BF16)
    return layer


def check_product(layer: nn.Module, weight: Tensor, dtype: torch.dtype, bound: float = 0.0) -> None:
    """Compare a layer's output with the product in float32, for one token and for 33.

    ``bound`` is the largest norm of the difference allowed, over that of the product; by default
    that of two roundings to ``dtype``.

    Raises:
        ValueError: where it is further off.
    """
    generator = torch.Generator().manual_seed(1)
    bound = bound or 2 * torch.finfo(dtype).eps + 1e-5
    for tokens in (1, 33):
        x = torch.randn(tokens, weight.shape[1], generator=generator).to(dtype)
        exact = x.float() @ weight.T
        with torch.inference_mode():
            off = float((layer(x).float() - exact).norm() / exact.norm())
        if not off <= bound:
            raise ValueError(f"layer is off by {off:.2g} of its output at {tokens} tokens")


def swap_linears(model: nn.Module, bits: int) -> None:
    """Put a kernel in the place of every linear layer of the transformer blocks.

    Raises:
        ValueError: where some layer has none.
    """
    widths = {layer.weight.shape[1] for layer in block_linears(model).values()}
    quantize_model(model, "rtn", scheme_for(bits, *widths), progress=False)
    for name, reason in use_kernels(model).items():
        raise ValueError(f"layer {name!r} has no kernel: {reason}")

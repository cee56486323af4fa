"""Linear layers by the kernels that torch has for 8- and 4-bit weights on a CPU.

The INT4 kernel computes ``(code - 8) * scale + shift``. That is ``(code - zero_point) * scale``, as
the course has it, with ``shift = (8 - zero_point) * scale``. It wants the inputs' dtype for both,
groups of 32, 64, 128 or 256 that divide ``in_features``, and ``out_features`` divisible by 16.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qlearn.affine import QuantizedTensor, quantize
from qlearn.scheme import QuantScheme

GROUPS = (32, 64, 128, 256)
EIGHT, FOUR = QuantScheme(8, True, None, "restricted"), QuantScheme(4, False, 64)


def four(inputs: int) -> QuantScheme:
    """Groups of 64, or of 32 where 64 does not divide ``inputs``."""
    return FOUR if inputs % 64 == 0 else QuantScheme(4, False, 32)


class Int4Linear(nn.Module):
    """``x W'^T`` by ``torch._weight_int4pack_mm_for_cpu``; ``W'`` is what ``quantized`` means."""

    def __init__(self, quantized: QuantizedTensor, dtype: torch.dtype) -> None:
        super().__init__()
        outputs, inputs = quantized.shape
        group = quantized.scheme.group_size
        if quantized.scheme.bits != 4 or group not in GROUPS or inputs % group or outputs % 16:
            raise ValueError(
                f"quantized is {quantized.scheme} of shape {tuple(quantized.shape)}; the kernel "
                f"takes 4 bits, groups of {', '.join(map(str, GROUPS))}, rows divisible by 16"
            )
        self.group = group
        scale = quantized.scale.float()
        shift = (8 - quantized.zero_point.float()) * scale
        pairs = torch.stack([scale, shift], -1).transpose(0, 1).contiguous()  # [groups, rows, 2]
        pack = torch.ops.aten._convert_weight_to_int4pack_for_cpu
        self.register_buffer("codes", pack(quantized.codes.to(torch.int32), 1))
        self.register_buffer("pairs", pairs.to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        product = torch.ops.aten._weight_int4pack_mm_for_cpu
        rows = product(x.reshape(-1, x.shape[-1]), self.codes, self.group, self.pairs)
        return rows.view(*x.shape[:-1], -1)


class Int8Linear(nn.Module):
    """``x W'^T`` by ``torch._weight_int8pack_mm``: signed codes, one scale an output row."""

    def __init__(self, quantized: QuantizedTensor, dtype: torch.dtype) -> None:
        super().__init__()
        if quantized.scheme != EIGHT:
            raise ValueError(f"quantized is {quantized.scheme}; the kernel takes {EIGHT}")
        self.register_buffer("codes", (quantized.codes.to(torch.int16) - 128).to(torch.int8))
        self.register_buffer("scale", quantized.scale.flatten().to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        rows = torch._weight_int8pack_mm(x.reshape(-1, x.shape[-1]), self.codes, self.scale)
        return rows.view(*x.shape[:-1], -1)


def make(weight: Tensor, bits: int, dtype: torch.dtype) -> nn.Module:
    """Round ``weight`` ``[out, in]`` to the nearest codes, and check the kernel that takes them."""
    quantized = quantize(weight.float(), EIGHT if bits == 8 else four(weight.shape[1]))
    layer = (Int8Linear if bits == 8 else Int4Linear)(quantized, dtype)
    check_product(layer, quantized.dequantize(), dtype)
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


def swap_linears(model: nn.Module, bits: int, dtype: torch.dtype) -> int:
    """Put a kernel in the place of every linear layer of the transformer blocks; count them."""
    names = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and ".layers." in n]
    if not names:
        raise ValueError(f"model={type(model).__name__} has no linear layer inside '.layers.'")
    for name in names:
        parent, _, child = name.rpartition(".")
        linear = model.get_submodule(name)
        if linear.bias is not None:
            raise ValueError(f"{name} has a bias, which the kernels leave out")
        setattr(model.get_submodule(parent), child, make(linear.weight.detach(), bits, dtype))
    return len(names)

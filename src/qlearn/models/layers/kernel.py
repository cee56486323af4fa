"""KernelLinear: a quantized layer in the layout that torch's fast CPU kernels read.

A :class:`qlearn.models.layers.affine.QuantizedLinear` shows its arithmetic: it turns codes into
floats, then multiplies. These kernels read the codes themselves, so that a token costs the bytes of
the codes and no more. torch has two, both for inputs in bfloat16: INT8 with one scale an output,
and INT4 in groups of 32, 64, 128 or 256 (``torch.ops.aten._weight_int8pack_mm``,
``_weight_int4pack_mm_for_cpu``). They compute no gradients.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qlearn.models.blocks import set_module
from qlearn.models.layers.affine import QuantizedLinear
from qlearn.numerics.packing import unpack
from qlearn.numerics.scheme import QuantScheme

GROUPS = (32, 64, 128, 256)  # that the INT4 kernel knows
OUTPUTS = 16  # it computes so many outputs together
MANY = 16  # rows from which INT8 codes are cheaper to cast first than to read for each row
HEAD = QuantScheme(8, True, None, "restricted")  # of an output head that is rounded too


class KernelLinear(nn.Module):
    """``y = x W'^T + b`` by a kernel that reads the codes.

    Args:
        layer: 8 bits, symmetric, one scale an output row; or 4 bits in groups of :data:`GROUPS`,
            with a multiple of 16 outputs. On the CPU.

    Attributes:
        packed: INT8: int8 ``[out_features, in_features]``, code minus 128; INT4: uint8
            ``[out_features, in_features / 2]`` in the kernel's own order.
        grid: bfloat16; INT8: the scales ``[out_features]``; INT4: ``[groups, out_features, 2]``,
            scale ``s`` and offset ``(8 - zero_point) s``, since the kernel computes
            ``(code - 8) s + offset``.

    Raises:
        ValueError: for a layer that no kernel takes; the message says what it lacks.
    """

    packed: Tensor
    grid: Tensor

    def __init__(self, layer: QuantizedLinear) -> None:
        super().__init__()
        reason = obstacle(layer)
        if reason:
            raise ValueError(f"layer={layer} can't use a kernel: {reason}")
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.scheme = layer.scheme
        self.bias = layer.bias
        codes = unpack(layer.codes, layer.scheme.bits, layer.in_features)
        scale = layer.scale.float()
        if layer.scheme.bits == 8:
            packed, grid = (codes.to(torch.int16) - 128).to(torch.int8), scale[:, 0]
        else:
            packed = torch._convert_weight_to_int4pack_for_cpu(codes.int(), 1)
            if layer.zero_point is None:
                offset = torch.zeros_like(scale)
            else:
                offset = (8 - unpack(layer.zero_point, 4, scale.shape[1]).float()) * scale
            grid = torch.stack((scale.T, offset.T), dim=-1)
        self.group = layer.in_features // layer.scale.shape[-1]
        self.register_buffer("packed", packed.contiguous())
        self.register_buffer("grid", grid.to(torch.bfloat16).contiguous())

    def forward(self, input: Tensor) -> Tensor:
        """``input`` ``[..., in_features]`` to ``[..., out_features]``, in the input's dtype.

        Inputs of another dtype are cast to bfloat16, and the outputs back.
        """
        rows = input.reshape(-1, self.in_features).contiguous()
        if rows.dtype != torch.bfloat16:
            rows = rows.to(torch.bfloat16)
        if self.scheme.bits == 4:
            output = torch._weight_int4pack_mm_for_cpu(rows, self.packed, self.group, self.grid)
        elif len(rows) < MANY:
            output = torch._weight_int8pack_mm(rows, self.packed, self.grid)
        else:  # codes are exact in bfloat16, so the scale may follow the product
            output = F.linear(rows, self.packed.to(torch.bfloat16)).mul_(self.grid)
        if input.dtype != torch.bfloat16:
            output = output.to(input.dtype)
        if input.dim() != 2:
            output = output.view(*input.shape[:-1], self.out_features)
        return output if self.bias is None else output + self.bias.to(output.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes that hold the weight."""
        return sum(t.numel() * t.element_size() for t in (self.packed, self.grid))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> KernelLinear:
        """``.to(dtype)`` moves the layer; its grid stays in bfloat16, which the kernels read."""
        grid = self.grid
        super()._apply(fn, recurse)
        self.grid = grid.to(self.grid.device)
        return self

    def extra_repr(self) -> str:
        """What ``print(model)`` shows of the layer."""
        bits = 8 * self.nbytes / (self.in_features * self.out_features)
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, {self.scheme}, {bits:.3f} bits a weight"
        )


def obstacle(layer: QuantizedLinear) -> str:
    """Why no kernel takes this layer; an empty string where one does."""
    scheme = layer.scheme
    if layer.codes.device.type != "cpu":
        return f"it is on {layer.codes.device}; these kernels run on the CPU"
    if scheme.bits == 8:
        if not scheme.symmetric:
            return "the INT8 kernel has no zero-points; use symmetric=True"
        if scheme.group_size is not None:
            return "the INT8 kernel has one scale an output; use group_size=None"
        return ""
    if scheme.bits != 4:
        return f"there are kernels for 8 and 4 bits, not {scheme.bits}"
    if layer.in_features // layer.scale.shape[-1] not in GROUPS or scheme.group_size == "tensor":
        return f"the INT4 kernel takes groups of {', '.join(map(str, GROUPS))}"
    if layer.out_features % OUTPUTS:
        return f"{layer.out_features} outputs are no multiple of {OUTPUTS}"
    return ""


class KernelEmbedding(nn.Module):
    """The table of a tied embedding, read from the codes of the output head.

    Args:
        head: INT8, with one code row a token.
    """

    def __init__(self, head: KernelLinear) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = head.out_features, head.in_features
        self.head = head

    def forward(self, ids: Tensor) -> Tensor:
        """The rows of ``ids`` ``[...]`` as bfloat16 ``[..., embedding_dim]``."""
        return self.head.packed[ids].to(torch.bfloat16) * self.head.grid[ids][..., None]


def use_kernels(model: nn.Module, *, round_head: bool = False) -> dict[str, str]:
    """Put a :class:`KernelLinear` in the place of each quantized layer that allows it.

    The model computes in bfloat16 from then on: parameters that are not quantized are cast, buffers
    (the angles of rotary positions) stay as they are.

    Args:
        round_head: round the output head to INT8 too, with one scale a token of the vocabulary. A
            head tied to the embedding shares its codes with it. On smollm2-135m, where the head is
            21% of the weights, that adds about as much divergence as bfloat16 alone has: seen
            beside INT8 layers, lost beside INT4 ones (``quality`` in ``results/roofline.json``).

    Returns:
        The layers that stay as they are, and why.

    Raises:
        ValueError: where no layer is quantized by a :class:`qlearn.numerics.scheme.QuantScheme`, or
            ``round_head`` with a head that is no ``nn.Linear`` or is not on the CPU.
    """
    modules = list(model.named_modules(remove_duplicate=False))
    layers = [(name, each) for name, each in modules if isinstance(each, QuantizedLinear)]
    if not layers:
        raise ValueError(
            f"model={type(model).__name__} holds no QuantizedLinear; call quantize_model first"
        )
    if round_head:
        _round_head(model)
    kept = {}
    made: dict[int, KernelLinear] = {}
    for name, layer in layers:
        reason = obstacle(layer)
        if reason:
            kept[name] = reason
            continue
        if id(layer) not in made:
            made[id(layer)] = KernelLinear(layer)
        set_module(model, name, made[id(layer)])
    _cast_parameters(model)
    return kept


def _round_head(model: nn.Module) -> None:
    """Put a kernel in the place of the head, and of the embedding that is tied to it."""
    find = getattr(model, "get_output_embeddings", None)
    head = find() if callable(find) else None
    if not isinstance(head, nn.Linear):
        raise ValueError(
            f"round_head=True: the head of model={type(model).__name__} is "
            f"{type(head).__name__}, not an nn.Linear; use round_head=False"
        )
    kernel = KernelLinear(QuantizedLinear.from_linear(head, HEAD))
    for name, module in list(model.named_modules()):
        if module is head:
            set_module(model, name, kernel)
        elif isinstance(module, nn.Embedding) and module.weight is head.weight:
            set_module(model, name, KernelEmbedding(kernel))


def _cast_parameters(model: nn.Module) -> None:
    """Give every module its floating parameters in bfloat16; a shared one stays shared.

    ``model.to(dtype)`` would also cast rotary frequencies, which puts far positions at wrong
    angles, and would change the tensors of a model that this one is a shallow copy of.
    """
    cast: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is None or not parameter.is_floating_point():
                continue
            if id(parameter) not in cast:
                made = nn.Parameter(parameter.detach().to(torch.bfloat16), requires_grad=False)
                cast[id(parameter)] = made
            module._parameters[name] = cast[id(parameter)]

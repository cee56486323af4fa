"""LoRA: a frozen linear layer learns through two thin matrices beside it.

``y = base(x) + alpha / rank * x A^T B^T`` with ``A`` ``[rank, in]`` and ``B`` ``[out, rank]``.
``B`` starts at zero, so a fresh adapter changes nothing. The base may be an ``nn.Linear`` or any
frozen layer whose output has a gradient with respect to its input: gradients pass *through* the
base, quantized or not, to the adapters of the layers before it, and none is kept for the base.

Source: Hu et al. 2021 (arXiv 2106.09685); QLoRA, Dettmers et al. 2023 (arXiv 2305.14314), is the
same over a base of NF4. Initial values are those of the peft library.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ALL_LINEAR = "all-linear"


class LoRALinear(nn.Module):
    """A frozen linear layer and its adapter.

    Args:
        base: a layer with ``in_features`` and ``out_features``; its parameters are frozen.
        rank: columns of the adapter's bottleneck, at least 1 and at most the smaller side of the
            weight.
        alpha: the adapter's output is multiplied by ``alpha / rank``.
        dtype: of the adapter. Its input is cast to it, its output to the base's.

    Attributes:
        lora_A: ``[rank, in_features]``, uniform in ``±1/sqrt(in_features)``.
        lora_B: ``[out_features, rank]``, zeros.

    Raises:
        ValueError: for a base without those two sizes, a rank out of range, an alpha that is not
            positive and finite, a dtype that is not floating point.

    >>> layer = LoRALinear(nn.Linear(64, 32), rank=4, alpha=8)
    >>> sum(p.numel() for p in layer.parameters() if p.requires_grad)  # 4 * (64 + 32)
    384
    """

    def __init__(
        self,
        base: nn.Module,
        rank: int = 8,
        alpha: float = 16.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = _sizes(base)
        _check(rank, alpha, dtype, min(self.in_features, self.out_features))
        self.base = base.requires_grad_(False)
        self.rank, self.alpha = rank, float(alpha)
        device = next((t.device for t in [*base.parameters(), *base.buffers()]), None)
        self.lora_A = nn.Parameter(torch.empty(rank, self.in_features, dtype=dtype, device=device))
        self.lora_B = nn.Parameter(torch.zeros(self.out_features, rank, dtype=dtype, device=device))
        nn.init.kaiming_uniform_(self.lora_A, a=sqrt(5))
        self._unmerged: nn.Module | None = None

    @property
    def scaling(self) -> float:
        """``alpha / rank``."""
        return self.alpha / self.rank

    @property
    def merged(self) -> bool:
        """Whether the base holds the adapter's part already."""
        return self._unmerged is not None

    def forward(self, input: Tensor) -> Tensor:
        """``input`` ``[..., in_features]`` to ``[..., out_features]``, in the base's dtype."""
        output: Tensor = self.base(input)
        if self.merged:
            return output
        low = F.linear(input.to(self.lora_A.dtype), self.lora_A)
        return output + (F.linear(low, self.lora_B) * self.scaling).to(output.dtype)

    def delta(self) -> Tensor:
        """What the adapter adds to the weight, ``[out_features, in_features]``."""
        return self.scaling * (self.lora_B @ self.lora_A)

    def merged_linear(self) -> nn.Linear:
        """An ``nn.Linear`` of the base's weight plus the adapter's.

        A quantized base is dequantized for it, so the result takes as much memory as before
        quantization. Rounding the sum to 4 bits again would lose what is small in it.
        """
        base = self._unmerged or self.base
        weight = _float_weight(base)
        merged = nn.Linear(1, 1, bias=False)  # its tensors are replaced at once
        merged.in_features, merged.out_features = self.in_features, self.out_features
        with torch.no_grad():
            total = (weight.to(self.lora_A.dtype) + self.delta()).to(weight.dtype)
        merged.weight = nn.Parameter(total, requires_grad=False)
        bias: Any = getattr(base, "bias", None)
        merged.bias = bias
        return merged.train(self.training)

    def merge(self) -> None:
        """Put the adapter into the base; the old base is kept, for :meth:`unmerge`."""
        if not self.merged:
            self._unmerged, self.base = self.base, self.merged_linear()

    def unmerge(self) -> None:
        """Take the old base back, exactly."""
        if self._unmerged is not None:
            self.base, self._unmerged = self._unmerged, None

    def extra_repr(self) -> str:
        """What ``print(model)`` shows of the layer."""
        return f"rank={self.rank}, alpha={self.alpha:g}, merged={self.merged}"


def add_lora(
    model: nn.Module,
    rank: int = 8,
    alpha: float = 16.0,
    targets: str | Sequence[str] = ALL_LINEAR,
    dtype: torch.dtype = torch.float32,
) -> dict[str, LoRALinear]:
    """Freeze a model and put an adapter on some of its linear layers, in place.

    Args:
        model: any module.
        targets: names of layers, or their last parts, such as ``("q_proj", "v_proj")``; or
            ``"all-linear"``: every linear layer but the output head.

    Returns:
        The new layers by name.

    Raises:
        ValueError: as :class:`LoRALinear`, for a target that names no linear layer, and for a model
            that has adapters already. The model is then as it was.
    """
    if any(isinstance(module, LoRALinear) for module in model.modules()):
        raise ValueError("model has adapters already; merge_lora(model) first, or load it anew")
    layers = _targeted(model, targets)
    for layer in layers.values():
        _check(rank, alpha, dtype, min(_sizes(layer)))
    model.requires_grad_(False)
    added = {}
    for name, layer in layers.items():
        parent, _, child = name.rpartition(".")
        added[name] = LoRALinear(layer, rank, alpha, dtype).train(layer.training)
        setattr(model.get_submodule(parent), child, added[name])
    return added


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """The layers with an adapter, by name.

    Raises:
        ValueError: where there is none.
    """
    found = {name: m for name, m in model.named_modules() if isinstance(m, LoRALinear)}
    if not found:
        raise ValueError(f"model={type(model).__name__} has no adapters; call add_lora first")
    return found


def merge_lora(model: nn.Module) -> nn.Module:
    """Replace every adapted layer by one ``nn.Linear`` of the sum, in place.

    Raises:
        ValueError: for a model without adapters, or a base that can't be dequantized.
    """
    layers = lora_layers(model)
    for name in list(layers):
        parent, _, child = name.rpartition(".")
        # Taken out of the dict, so that the old base is gone before the next sum is made.
        setattr(model.get_submodule(parent), child, layers.pop(name).merged_linear())
    return model


def trainable_parameters(model: nn.Module) -> int:
    """How many numbers an optimizer would change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _targeted(model: nn.Module, targets: str | Sequence[str]) -> dict[str, nn.Module]:
    head_of: Any = getattr(model, "get_output_embeddings", lambda: None)
    head = head_of()
    linear = {n: m for n, m in model.named_modules() if n and _is_linear(m) and m is not head}
    if targets == ALL_LINEAR:
        wanted = linear
    else:
        ends = [targets] if isinstance(targets, str) else list(targets)
        for end in ends:
            if not any(_ends(name, end) for name in linear):
                known = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
                raise ValueError(
                    f"targets={end!r} names no linear layer; choose of {known or 'none'}"
                )
        wanted = {n: m for n, m in linear.items() if any(_ends(n, end) for end in ends)}
    if not wanted:
        raise ValueError(f"targets={targets!r} names no linear layer of {type(model).__name__}")
    return wanted


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")


def _is_linear(module: nn.Module) -> bool:
    return hasattr(module, "in_features") and hasattr(module, "out_features")


def _sizes(base: nn.Module) -> tuple[int, int]:
    if not _is_linear(base):
        raise ValueError(
            f"base={type(base).__name__} has no in_features and out_features; "
            "pass a linear layer, quantized or not"
        )
    sizes: Any = base.in_features, base.out_features
    return int(sizes[0]), int(sizes[1])


def _check(rank: int, alpha: float, dtype: torch.dtype, largest: int) -> None:
    if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= largest:
        raise ValueError(f"rank={rank!r} is not an integer from 1 to {largest}; 8 is usual")
    if not 0 < alpha < float("inf"):
        raise ValueError(f"alpha={alpha!r} is not a positive number; twice the rank is usual")
    if not dtype.is_floating_point:
        raise ValueError(f"dtype={dtype} is not floating point; choose torch.float32")


def _float_weight(base: nn.Module) -> Tensor:
    """The weight as floats ``[out, in]``, dequantized where the base is quantized."""
    if hasattr(base, "dequantize"):
        dequantize: Any = base.dequantize
        weight: Any = dequantize()
    else:
        weight = getattr(base, "weight", None)
    if not isinstance(weight, Tensor) or not weight.is_floating_point() or weight.ndim != 2:
        raise ValueError(
            f"base={type(base).__name__} has no float weight and no dequantize(); "
            "give it one, or merge with the library that it comes from"
        )
    return weight.detach()

"""Int8Linear: a linear layer whose inputs are rounded too, so that it multiplies integers.

The weight is int8, one absmax an output. The inputs are rounded when they come: each token on a
grid of its own (``"token"``), all of a call on one (``"tensor"``), or on one that calibration fixed
(``"static"``). With a threshold, outlier columns go around the integer product, see
:mod:`qlearn.numerics.outliers`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from qlearn.models.blocks import weight_of
from qlearn.models.layers.base import CodesLinear, Product
from qlearn.numerics.int8 import (
    absmax_int8,
    as_half,
    check_matrix,
    dequantize_product,
    dequantize_rows,
    int8_product,
    to_codes,
)
from qlearn.numerics.outliers import check_threshold, llm_int8
from qlearn.numerics.scheme import QuantScheme

ACTIVATIONS = ("token", "tensor", "static")
SCHEME = QuantScheme(8, True, None, "restricted")  # of the weight


class Int8Linear(CodesLinear):
    """``y = (X_int8 W_int8^T) * absmax_x absmax_w / 127^2 + b``.

    Args:
        codes: int8 ``[out_features, in_features]``.
        absmax: float32 ``[out_features]``, the largest magnitude of each row of the weight.
        bias: ``[out_features]`` or ``None``.
        activations: ``"token"``, ``"tensor"`` or ``"static"``.
        threshold: of outliers, which need ``"token"``; 0 takes none out.
        input_absmax: the largest ``|x|`` of the calibration, a scalar, for ``"static"`` alone.
        dtype: of what :meth:`dequantize` returns.

    Raises:
        ValueError: for arguments that do not go together.

    >>> layer = Int8Linear.from_linear(nn.Linear(64, 8))
    >>> layer.nbytes  # 8 rows of 64 codes, 8 float32 absmax
    544
    """

    absmax: Tensor
    input_absmax: Tensor | None

    def __init__(
        self,
        codes: Tensor,
        absmax: Tensor,
        bias: Tensor | None = None,
        *,
        activations: str = "token",
        threshold: float = 0.0,
        input_absmax: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        check_activations(activations, threshold)
        if codes.dtype != torch.int8 or codes.dim() != 2 or absmax.shape != codes.shape[:1]:
            raise ValueError(
                f"codes are {codes.dtype} of shape {tuple(codes.shape)}, absmax of shape "
                f"{tuple(absmax.shape)}; pass what absmax_int8 returns for a weight"
            )
        if (input_absmax is not None) != (activations == "static"):
            raise ValueError(
                f"input_absmax={input_absmax!r} does not go with activations={activations!r}; "
                "'static' needs the largest |x| of a calibration, the others none"
            )
        super().__init__(tuple(codes.shape), dtype, bias)
        self.scheme = SCHEME
        self.activations, self.threshold = activations, float(threshold)
        self.register_buffer("codes", codes)
        self.register_buffer("absmax", absmax.float())
        self.register_buffer(
            "input_absmax", None if input_absmax is None else input_absmax.float().reshape(1)
        )

    @classmethod
    def from_linear(
        cls, linear: nn.Module, scheme: QuantScheme = SCHEME, **options: Any
    ) -> Int8Linear:
        """Round the weight of an ``nn.Linear`` or a ``Conv1D``; the bias is shared.

        Args:
            linear: the layer.
            scheme: the one that there is, :data:`SCHEME`.
            options: ``activations``, ``threshold``, ``input_absmax``.

        Raises:
            ValueError: for another scheme or module, or a weight that holds NaN.
        """
        check_int8_scheme(scheme)
        weight = weight_of(linear)
        codes, absmax = absmax_int8(weight)
        return cls(codes, absmax, getattr(linear, "bias", None), dtype=weight.dtype, **options)

    def forward(self, input: Tensor) -> Tensor:
        """``input`` ``[..., in_features]`` to ``[..., out_features]``, in the input's dtype.

        Gradients flow to the input as if it had not been rounded, through the dequantized weight.

        Raises:
            ValueError: for NaN or infinite inputs.
        """
        output: Tensor = _IntegerProduct.apply(input, self)
        return output if self.bias is None else output + self.bias.to(output.dtype)

    def product(self, rows: Tensor) -> Tensor:
        """``rows`` ``[tokens, in_features]`` times the weight, without the bias."""
        if self.threshold > 0:
            return llm_int8(rows, self.codes, self.absmax, self.threshold)
        if self.input_absmax is not None:
            check_matrix(rows, "input")
            codes, absmax = to_codes(as_half(rows), self.input_absmax), self.input_absmax
        else:
            codes, absmax = absmax_int8(rows, "row" if self.activations == "token" else "tensor")
        return dequantize_product(int8_product(codes, self.codes), absmax, self.absmax).to(
            rows.dtype
        )

    def _dequantize_into(self, out: Tensor, rows: slice) -> None:
        out.copy_(dequantize_rows(self.codes[rows], self.absmax[rows]))

    @property
    def nbytes(self) -> int:
        """Bytes that are stored: codes, absmax, and the inputs' absmax where it is fixed."""
        tensors = [self.codes, self.absmax, self.input_absmax]
        return sum(t.numel() * t.element_size() for t in tensors if t is not None)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows of the layer."""
        threshold = f", threshold={self.threshold:g}" if self.threshold else ""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, W8A8 {self.activations}{threshold}, "
            f"{self.bits_per_weight:.3f} bits a weight"
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Int8Linear:
        """``.to(dtype)`` moves the layer and changes what it dequantizes to, not what it stores."""
        kept = {"absmax": self.absmax, "input_absmax": self.input_absmax}
        super()._apply(fn, recurse)
        for name, before in kept.items():
            if before is not None:
                setattr(self, name, before.to(self.codes.device))
        self.dtype = fn(torch.empty(0, dtype=self.dtype)).dtype
        return self


def check_activations(activations: str, threshold: float) -> None:
    """Raise a ``ValueError`` for activations that do not exist, or do not go with a threshold."""
    if activations not in ACTIVATIONS:
        raise ValueError(
            f"activations={activations!r} is not known; choose {', '.join(map(repr, ACTIVATIONS))}"
        )
    check_threshold(threshold)
    if threshold and activations != "token":
        raise ValueError(
            f"threshold={threshold} with activations={activations!r}: LLM.int8() gives each token "
            "a grid of its own; use activations='token', or threshold=0"
        )


def check_int8_scheme(scheme: QuantScheme) -> None:
    """Raise a ``ValueError`` for another scheme than the one that integer products use."""
    if scheme != SCHEME:
        raise ValueError(
            f"scheme={scheme} is not that of method='int8', {SCHEME}; leave scheme out, or use "
            "method='rtn' for weights in 8 bits alone"
        )


class _IntegerProduct(Product):
    """The integer product forward; backward as for float inputs and the dequantized weight."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, layer: CodesLinear) -> Tensor:
        assert isinstance(layer, Int8Linear)
        ctx.layer = layer
        if input.shape[-1:] != (layer.in_features,):
            raise ValueError(
                f"input has shape {tuple(input.shape)}; pass [..., {layer.in_features}]"
            )
        shape = (*input.shape[:-1], layer.out_features)
        if input.numel() == 0:
            return input.new_zeros(shape)
        return layer.product(input.detach().reshape(-1, layer.in_features)).view(shape)

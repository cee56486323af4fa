"""A model for quantization-aware training: prepare, train as always, convert.

``prepare_qat`` puts a layer that fake-quantizes its weight in the place of each linear layer of
the transformer blocks; after training ``convert_qat`` puts a quantized layer there, which computes
exactly what was trained.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qlearn.convert.checks import check_layer, check_scheme, select_layers
from qlearn.convert.report import QuantizationReport, measure, model_bits, stored_bytes
from qlearn.methods.qat import (
    as_stored,
    lsq_factor,
    lsq_scale,
    round_on_grid,
    straight_through,
    with_gradient_factor,
)
from qlearn.models.blocks import set_module, weight_of
from qlearn.models.layers.affine import QuantizedLinear
from qlearn.numerics.affine import QuantizedTensor, choose_qparams
from qlearn.numerics.scheme import QuantScheme


class FakeQuantizedLinear(nn.Linear):
    """A linear layer whose forward pass sees its weight rounded to the grid of a scheme.

    Args:
        linear: an ``nn.Linear`` or a ``Conv1D``; the parameters of an ``nn.Linear`` are shared.
        scheme: bits, convention and group size.
        learned: make the scales parameters (LSQ). Otherwise the grid is fitted to the weights anew
            in each forward pass.

    Attributes:
        weight: float ``[out_features, in_features]``, what training changes.
        scale: ``[rows, groups]``, a parameter; ``None`` unless learned.
        zero_point: int32 ``[rows, groups]``, fixed; ``None`` unless the scales are learned.

    Raises:
        ValueError: as :func:`qlearn.numerics.affine.choose_qparams`, and for other modules.
    """

    scale: nn.Parameter | None
    zero_point: Tensor | None

    def __init__(self, linear: nn.Module, scheme: QuantScheme, learned: bool = False) -> None:
        weight = weight_of(linear)
        rows, width = weight.shape
        super().__init__(width, rows, bias=False, device="meta")
        if isinstance(linear, nn.Linear):
            self.weight = linear.weight
        else:
            self.weight = nn.Parameter(weight.detach().contiguous())
        self.bias = getattr(linear, "bias", None)  # type: ignore[assignment]
        self.scheme = scheme
        scale, zero_point = choose_qparams(weight, scheme)  # checks the weight
        if learned:
            scale, zero_point = lsq_scale(weight, scheme)
            self.scale = nn.Parameter(scale)
            self.register_buffer("zero_point", zero_point)
        else:
            self.register_parameter("scale", None)
            self.register_buffer("zero_point", None)
        self.train(linear.training)

    def grid(self) -> tuple[Tensor, Tensor]:
        """Scale and zero-point ``[rows, groups]`` as they will be stored."""
        if self.scale is None or self.zero_point is None:
            scale, zero_point = choose_qparams(self.weight, self.scheme)
            return as_stored(scale, down=self.scheme.symmetric), zero_point
        # A step of the optimizer may carry a small scale below 0, where its size still means one.
        factor = lsq_factor(tuple(self.weight.shape), self.scheme)
        return as_stored(with_gradient_factor(self.scale, factor).abs()), self.zero_point

    def fake_weight(self) -> Tensor:
        """The weight as the quantized layer will see it."""
        return straight_through(self.weight, *self.grid(), self.scheme)

    def forward(self, input: Tensor) -> Tensor:
        """``input`` ``[..., in_features]`` to ``[..., out_features]``."""
        return F.linear(input, self.fake_weight(), self.bias)

    def quantized(self) -> QuantizedTensor:
        """The codes and the grid that :meth:`fake_weight` stands for."""
        with torch.no_grad():
            return round_on_grid(self.weight, *self.grid(), self.scheme)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows of the layer."""
        scales = "learned scales" if self.scale is not None else "fitted scales"
        return f"{super().extra_repr()}, {self.scheme}, {scales}"


def prepare_qat(
    model: nn.Module, scheme: QuantScheme, learned: bool = False, skip: Iterable[str] = ()
) -> nn.Module:
    """Let the linear layers of all transformer blocks fake-quantize their weights, in place.

    Args:
        model: a decoder whose layers are still float. Its own tensors are trained: to keep the
            original, prepare ``copy.deepcopy(model)``.
        scheme: bits, convention and group size.
        learned: learn the scales (LSQ) instead of fitting them to the weights in each pass.
        skip: names of layers to leave as they are, as for
            :func:`qlearn.convert.model.quantize_model`.

    Returns:
        ``model`` itself.

    Raises:
        ValueError: as :func:`qlearn.convert.model.quantize_model`, and for a model that is prepared
            already. The model is unchanged.
    """
    check_scheme(scheme)
    layers = select_layers(model, skip)
    for name, layer in layers.items():
        if isinstance(layer, FakeQuantizedLinear):
            raise ValueError(
                f"model is already prepared ({name}); train it and call convert_qat, or load it "
                "again"
            )
        check_layer(name, weight_of(layer), scheme)
    made: dict[nn.Module, FakeQuantizedLinear] = {}  # a layer that stands in two places stays one
    for name, layer in layers.items():
        if layer not in made:
            made[layer] = FakeQuantizedLinear(layer, scheme, learned)
        set_module(model, name, made[layer])
    return model


def convert_qat(model: nn.Module) -> QuantizationReport:
    """Quantize what :func:`prepare_qat` prepared and training changed, in place.

    The model computes what it computed before, bit for bit where a layer is multiplied whole.

    Returns:
        A report as of :func:`qlearn.convert.model.quantize_model`, with ``method="qat"``. Its
        errors compare the codes with the trained float weights.

    Raises:
        ValueError: for a model without prepared layers, or one whose weights are no longer finite.
    """
    start = time.perf_counter()
    found = [
        (name, layer)
        for name, layer in model.named_modules(remove_duplicate=False)
        if isinstance(layer, FakeQuantizedLinear)
    ]
    if not found:
        raise ValueError(
            f"model={type(model).__name__} holds no prepared layer; call prepare_qat first"
        )
    scheme = found[0][1].scheme
    for name, layer in found:
        check_layer(name, layer.weight, layer.scheme)
    made: dict[nn.Module, QuantizedLinear] = {}
    reports = []
    with torch.no_grad():
        for name, layer in found:
            if layer not in made:
                new = QuantizedLinear(layer.quantized(), layer.bias).train(layer.training)
                reports.append(measure(name, layer.weight, new))
                made[layer] = new
            set_module(model, name, made[layer])
    weights = sum(report.weights for report in reports)
    return QuantizationReport(
        method="qat",
        scheme=scheme,
        seconds=time.perf_counter() - start,
        bits_per_weight=8 * sum(report.bytes for report in reports) / weights,
        model_bits_per_weight=model_bits(model),
        bytes=stored_bytes(model),
        layers=tuple(reports),
    )

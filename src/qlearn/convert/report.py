"""What quantizing a model did: bytes as they are really held, and each layer's error."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log10

import torch
from torch import Tensor, nn

from qlearn.models.layers.base import CodesLinear
from qlearn.numerics.codebook import CodebookScheme
from qlearn.numerics.scheme import QuantScheme
from qlearn.teach.table import html_table, text_table

_COLUMNS = ("layers", "count", "shape", "bits/weight", "MB", "lowest SQNR (dB)", "largest error")


@dataclass(frozen=True)
class LayerReport:
    """One quantized layer.

    Attributes:
        name: dotted name in the model.
        shape: ``(out_features, in_features)``.
        bits_per_weight: stored bits over weights.
        bytes: stored bytes of the weight.
        sqnr: signal to quantization-noise ratio in dB; infinite where nothing was lost.
        max_error: largest absolute difference between a weight and its stand-in.
    """

    name: str
    shape: tuple[int, int]
    bits_per_weight: float
    bytes: int
    sqnr: float
    max_error: float

    @property
    def weights(self) -> int:
        """How many weights the layer has."""
        return self.shape[0] * self.shape[1]

    @classmethod
    def of(
        cls, name: str, layer: CodesLinear, signal: float, noise: float, max_error: float
    ) -> LayerReport:
        """The report of ``layer`` from the energies of its weight and of its error."""
        ratio = inf if noise == 0 else 10 * log10(signal / noise) if signal else -inf
        shape = layer.out_features, layer.in_features
        return cls(name, shape, layer.bits_per_weight, layer.nbytes, ratio, max_error)


@dataclass(frozen=True)
class QuantizationReport:
    """What :func:`qlearn.convert.model.quantize_model` did.

    Attributes:
        method: name of the method.
        scheme: the scheme of all layers.
        seconds: wall-clock time.
        bits_per_weight: stored bits over weights, quantized layers alone.
        model_bits_per_weight: the same over the whole model: embeddings, norms and biases at the
            width they are stored in, tied ones counted once.
        bytes: stored bytes of the whole model.
        layers: one :class:`LayerReport` a layer.
    """

    method: str
    scheme: QuantScheme | CodebookScheme
    seconds: float
    bits_per_weight: float
    model_bits_per_weight: float
    bytes: int
    layers: tuple[LayerReport, ...]

    @property
    def _title(self) -> str:
        return (
            f"{self.method} {self.scheme}: {len(self.layers)} layers in {self.seconds:.1f} s, "
            f"{self.bits_per_weight:.3f} bits a weight; whole model "
            f"{self.model_bits_per_weight:.3f} bits a weight, {_megabytes(self.bytes, 1)} MB"
        )

    def _rows(self) -> list[tuple[str, ...]]:
        """A row for each kind of layer: the layers that share the end of their name and a shape."""
        kinds: dict[tuple[str, tuple[int, int]], list[LayerReport]] = {}
        for layer in self.layers:
            kind = ".".join(layer.name.split(".")[-2:])
            kinds.setdefault((kind, layer.shape), []).append(layer)
        return [
            (
                kind,
                str(len(layers)),
                f"{shape[0]} × {shape[1]}",
                f"{layers[0].bits_per_weight:.3f}",
                _megabytes(sum(layer.bytes for layer in layers), 2),
                f"{min(layer.sqnr for layer in layers):.1f}",
                f"{max(layer.max_error for layer in layers):.3g}",
            )
            for (kind, shape), layers in kinds.items()
        ]

    def __str__(self) -> str:
        return "\n".join([self._title, *text_table(_COLUMNS, self._rows())])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(_COLUMNS, self._rows(), caption=self._title)


def _megabytes(size: int, places: int) -> str:
    """MB to some decimal places, or to two digits where these would leave fewer.

    >>> _megabytes(170_687_232, 1), _megabytes(31_700, 1)
    ('170.7', '0.032')
    """
    megabytes = size / 1e6
    return f"{megabytes:.{places}f}" if megabytes >= 10**-places * 10 else f"{megabytes:.2g}"


def measure(name: str, weight: Tensor, layer: CodesLinear) -> LayerReport:
    """The error of a quantized layer, some rows at a time."""
    signal = noise = largest = 0.0
    for rows, approximation in layer.weight_chunks(torch.float32):
        exact = weight[rows].to(torch.float32)
        error = approximation.sub_(exact)  # the chunk is ours to write to
        signal += float(exact.square().sum(dtype=torch.float64))
        noise += float(error.square().sum(dtype=torch.float64))
        largest = max(largest, float(error.abs().max()))
    return LayerReport.of(name, layer, signal, noise, largest)


def stored_bytes(model: nn.Module) -> int:
    """Bytes of all parameters, tied ones once, and of the quantized layers' buffers."""
    floats = sum(p.numel() * p.element_size() for p in model.parameters())
    return floats + sum(layer.nbytes for layer in _quantized(model))


def model_bits(model: nn.Module) -> float:
    """Stored bits over the number of weights of the whole model."""
    weights = sum(p.numel() for p in model.parameters())
    weights += sum(layer.in_features * layer.out_features for layer in _quantized(model))
    return 8 * stored_bytes(model) / weights


def _quantized(model: nn.Module) -> list[CodesLinear]:
    return [module for module in model.modules() if isinstance(module, CodesLinear)]

"""The compressed-tensors layout, "pack-quantized": rows packed as they lie.

``weight_packed`` int32 ``[out, ceil(in * bits / 32)]``, ``weight_scale`` ``[out, groups]``,
``weight_shape`` int64 ``[2]``; ``weight_zero_point`` int32 ``[ceil(out * bits / 32), groups]``,
packed down its columns, where the scheme is asymmetric.

The library thinks in signed codes from ``-2**(bits-1)`` on and adds ``2**(bits-1)`` before it
packs: what lies in the file is the unsigned code that qlearn uses. Codes of 3, 5, 6 and 7 bits run
over the edges of words, as the library packs them since 0.20.

Source: the library's own packer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qlearn.checkpoints.layout import Contents, expect, read_group_size
from qlearn.models.layers.affine import QuantizedLinear, quantized_tensor
from qlearn.numerics.affine import QuantizedTensor
from qlearn.numerics.packing import pack, unpack
from qlearn.numerics.scheme import QuantScheme

VERSION = "0.20.0"  # of the library whose layout this is


@dataclass(frozen=True)
class Compressed:
    """The pack-quantized layout of compressed-tensors."""

    name: str = "compressed-tensors"
    layer: type[QuantizedLinear] = QuantizedLinear
    mark: str = "weight_packed"

    def tensor_names(self, scheme: QuantScheme) -> tuple[str, ...]:
        """The tensors of a layer."""
        names = "weight_packed", "weight_scale", "weight_shape"
        return names if scheme.symmetric else (*names, "weight_zero_point")

    def check(self, name: str, layer: QuantizedLinear) -> None:
        """Raise a ValueError where the layout can't hold the layer."""
        if layer.scheme.group_size == "tensor":
            raise ValueError(
                f"layer {name!r} has group_size='tensor', which format={self.name!r} does not "
                "hold with packed codes; quantize with group_size=None (per channel) or a number"
            )

    def tensors(self, layer: QuantizedLinear) -> dict[str, Tensor]:
        """The tensors of a layer."""
        weight = quantized_tensor(layer)
        bits = layer.scheme.bits
        found = {
            "weight_packed": pack(weight.codes, bits, torch.int32),
            "weight_scale": weight.scale,
            "weight_shape": torch.tensor(weight.shape),
        }
        if not layer.scheme.symmetric:
            columns = pack(weight.zero_point.T, bits, torch.int32)
            found["weight_zero_point"] = columns.T.contiguous()
        return found

    def config(self, contents: Contents) -> dict[str, Any]:
        """The configuration as transformers, compressed-tensors and vLLM read it."""
        scheme = contents.scheme
        grouped = scheme.group_size is not None
        weights = {
            "num_bits": scheme.bits,
            "type": "int",
            "symmetric": scheme.symmetric,
            "strategy": "group" if grouped else "channel",
            "group_size": scheme.group_size,
            "dynamic": False,
            "actorder": None,
            "block_structure": None,
            "observer": "minmax",
            "observer_kwargs": {},
        }
        group = {
            "targets": ["Linear"],
            "weights": weights,
            "input_activations": None,
            "output_activations": None,
            "format": "pack-quantized",
        }
        config: dict[str, Any] = {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "quantization_status": "compressed",
            "version": VERSION,
            "config_groups": {"group_0": group},
            "ignore": list(contents.kept),
            "kv_cache_scheme": None,
            "global_compression_ratio": None,
        }
        if not scheme.symmetric:
            # Without it transformers makes place for zero-points of another shape and stops.
            config["dequantize"] = True
        return config

    def read_scheme(self, config: Mapping[str, Any]) -> QuantScheme:
        """The scheme of a ``quantization_config``."""
        groups = list(config["config_groups"].values())
        form = config.get("format")
        weights = groups[0]["weights"] if len(groups) == 1 else {}
        if form != "pack-quantized" or weights.get("type") != "int":
            raise ValueError(
                f"format={form!r} with {len(groups)} groups of layers is not read here; "
                'only one group of integers in "pack-quantized" is'
            )
        if weights.get("actorder") not in (None, "static", "weight"):
            raise ValueError("actorder='group': its groups are not runs of input columns")
        if weights["strategy"] not in ("group", "channel"):
            raise ValueError(f"strategy={weights['strategy']!r} is not group or channel")
        return QuantScheme(
            bits=weights["num_bits"],
            symmetric=weights["symmetric"],
            group_size=read_group_size(weights.get("group_size")),
        )

    def read(
        self, tensors: Mapping[str, Tensor], shape: tuple[int, int], scheme: QuantScheme
    ) -> QuantizedTensor:
        """A layer out of its tensors."""
        rows, columns = shape
        bits, groups = scheme.bits, scheme.grid_shape(shape)[1]
        stored = expect(tensors["weight_shape"], "weight_shape", (2,), torch.int64)
        if tuple(stored.tolist()) != shape:
            raise ValueError(f"weight_shape is {tuple(stored.tolist())}; {shape} belongs there")
        words = rows, -(-columns * bits // 32)
        packed = expect(tensors["weight_packed"], "weight_packed", words, torch.int32)
        scale = expect(tensors["weight_scale"], "weight_scale", (rows, groups), None)
        if scheme.symmetric:
            zero_point = torch.full((rows, groups), scheme.levels // 2, dtype=torch.int32)
        else:
            words = -(-rows * bits // 32), groups
            zeros = expect(tensors["weight_zero_point"], "weight_zero_point", words, torch.int32)
            zero_point = unpack(zeros.T, bits, rows).T.to(torch.int32)
        codes = unpack(packed, bits, columns)
        return QuantizedTensor(codes, scale, zero_point, scheme, codes.shape)

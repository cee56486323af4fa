"""The AWQ layout, "GEMM": eight output columns share a word, in an order that suits its GPU kernel.

``qweight`` int32 ``[in, out / 8]``, ``qzeros`` int32 ``[groups, out / 8]``, ``scales``
``[groups, out]``. Nibble ``i`` of a word, lowest first, holds output column
``8 * word + ORDER[i]``. Zero-points are stored as they are, so a symmetric grid is one whose
zero-points are all 8.

Source: Lin et al. 2023 (arXiv 2306.00978) and its authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qlearn.checkpoints.layout import (
    Contents,
    check_choice,
    check_whole_words,
    expect,
    read_group_size,
    stored_group_size,
)
from qlearn.models.layers.affine import QuantizedLinear, quantized_tensor
from qlearn.numerics.affine import QuantizedTensor
from qlearn.numerics.packing import pack, unpack
from qlearn.numerics.scheme import QuantScheme

ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
BITS = [4]
# The kernel that transformers asks GPTQModel for. Left to choose, it takes one on a CPU that
# multiplies in bfloat16 (logits off by 0.25%).
BACKEND = "torch_awq"
GROUP_SIZES = [None, 16, 32, 64, 128]  # those that GPTQModel's CPU kernels take


@dataclass(frozen=True)
class Awq:
    """The AWQ GEMM layout."""

    name: str = "awq"
    layer: type[QuantizedLinear] = QuantizedLinear
    mark: str = "qweight"

    def tensor_names(self, scheme: QuantScheme) -> tuple[str, ...]:  # noqa: ARG002
        """The tensors of a layer."""
        return "qweight", "qzeros", "scales"

    def check(self, name: str, layer: QuantizedLinear) -> None:
        """Raise a ValueError where the layout, or GPTQModel, can't hold the layer."""
        check_choice(name, self.name, "bits", layer.scheme.bits, BITS)
        check_choice(name, self.name, "group_size", layer.scheme.group_size, GROUP_SIZES)
        check_whole_words(name, self.name, "out_features", layer.out_features, 4)

    def tensors(self, layer: QuantizedLinear) -> dict[str, Tensor]:
        """The three tensors of a layer."""
        weight = quantized_tensor(layer)
        return {
            "qweight": pack_columns(weight.codes.T),
            "qzeros": pack_columns(weight.zero_point.T),
            "scales": weight.scale.T.contiguous(),
        }

    def config(self, contents: Contents) -> dict[str, Any]:
        """The configuration as transformers, GPTQModel, AutoAWQ and vLLM read it."""
        return {
            "quant_method": "awq",
            "bits": contents.scheme.bits,
            "group_size": stored_group_size(contents.scheme),
            # Zero-points are stored for a symmetric scheme too: vLLM's kernels want them.
            "zero_point": True,
            "sym": contents.scheme.symmetric,
            "desc_act": False,
            "version": "gemm",
            "backend": BACKEND,
            "modules_to_not_convert": list(contents.kept),
        }

    def read_scheme(self, config: Mapping[str, Any]) -> QuantScheme:
        """The scheme of a ``quantization_config``."""
        version = str(config.get("version", config.get("format", "gemm"))).lower()
        if version != "gemm":
            raise ValueError(f'version={version!r} is another order of words than "gemm"')
        if not config.get("zero_point", True):
            raise ValueError("zero_point=False: the file holds no zero-points to read")
        return QuantScheme(
            bits=config["bits"],
            symmetric=config.get("sym", False),
            group_size=read_group_size(config.get("group_size")),
            convention="full-range" if config.get("sym", False) else "raw-range",
        )

    def read(
        self, tensors: Mapping[str, Tensor], shape: tuple[int, int], scheme: QuantScheme
    ) -> QuantizedTensor:
        """A layer out of its three tensors."""
        rows, columns = shape
        groups = scheme.grid_shape(shape)[1]
        qweight = expect(tensors["qweight"], "qweight", (columns, rows // 8), torch.int32)
        qzeros = expect(tensors["qzeros"], "qzeros", (groups, rows // 8), torch.int32)
        scales = expect(tensors["scales"], "scales", (groups, rows), None)
        codes = unpack_columns(qweight).T.contiguous()
        zero_point = unpack_columns(qzeros).T.to(torch.int32)
        return QuantizedTensor(codes, scales.T, zero_point, scheme, codes.shape)


def pack_columns(codes: Tensor) -> Tensor:
    """Pack ``[rows, n]`` 4-bit codes into int32 ``[rows, n / 8]``, interleaved.

    >>> [hex(word) for word in pack_columns(torch.arange(8)[None])[0]]
    ['0x75316420']
    """
    words = codes.unflatten(-1, (-1, 8))
    return pack(words[..., list(ORDER)].flatten(-2), 4, torch.int32)


def unpack_columns(packed: Tensor) -> Tensor:
    """The inverse of :func:`pack_columns`: uint8 codes ``[rows, n]``."""
    nibbles = unpack(packed, 4).unflatten(-1, (-1, 8))
    codes = torch.empty_like(nibbles)
    codes[..., list(ORDER)] = nibbles
    return codes.flatten(-2)

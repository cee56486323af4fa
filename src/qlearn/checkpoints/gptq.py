"""The GPTQ layout: codes packed down the input rows, and a zero-point that v1 stores less one.

``qweight`` int32 ``[in * bits / 32, out]``: word 0 of a column holds the first input rows, the
first in its lowest bits. ``qzeros`` int32 ``[groups, out * bits / 32]``, ``scales``
``[groups, out]``, ``g_idx`` int32 ``[in]``: the group of each input row.

Version 1 stores ``zero_point - 1``. A zero-point of 0 has no place in it: loaders that add 1 to
each code read 2**bits, those that add 1 to every field of a whole word carry into its neighbour.
Version 2 stores the zero-point itself.

Source: Frantar et al. 2022 (arXiv 2210.17323), its authors' code, and GPTQModel's two versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qlearn import __version__
from qlearn.checkpoints.layout import (
    Contents,
    check_choice,
    check_whole_words,
    expect,
    read_group_size,
    stored_group_size,
)
from qlearn.models.layers.affine import QuantizedLinear, quantized_tensor, zero_points
from qlearn.numerics.affine import QuantizedTensor
from qlearn.numerics.packing import pack, unpack
from qlearn.numerics.scheme import QuantScheme

BITS = [2, 3, 4, 8]
# The kernel that transformers asks GPTQModel for. Left to choose, it takes one for 4 bits on a CPU
# that multiplies in bfloat16 (logits off by 0.25%) and gets asymmetric per-channel layers wrong.
BACKEND = "torch"
GROUP_SIZES = [None, 16, 32, 64, 128, 256, 512, 1024]  # those that GPTQModel's CPU kernels take


@dataclass(frozen=True)
class Gptq:
    """The GPTQ layout; ``name`` is ``"gptq"`` (version 1) or ``"gptq_v2"``."""

    name: str = "gptq"
    layer: type[QuantizedLinear] = QuantizedLinear
    mark: str = "qweight"

    def tensor_names(self, scheme: QuantScheme) -> tuple[str, ...]:  # noqa: ARG002
        """The tensors of a layer."""
        return "qweight", "qzeros", "scales", "g_idx"

    @property
    def zero_offset(self) -> int:
        """What is taken from a zero-point before it is stored."""
        return 1 if self.name == "gptq" else 0

    def check(self, name: str, layer: QuantizedLinear) -> None:
        """Raise a ValueError where the layout, or GPTQModel, can't hold the layer."""
        scheme = layer.scheme
        check_choice(name, self.name, "bits", scheme.bits, BITS)
        check_choice(name, self.name, "group_size", scheme.group_size, GROUP_SIZES)
        check_whole_words(name, self.name, "in_features", layer.in_features, scheme.bits)
        check_whole_words(name, self.name, "out_features", layer.out_features, scheme.bits)
        zeros = int((zero_points(layer) < self.zero_offset).sum())
        if zeros:
            raise ValueError(
                f"layer {name!r} has {zeros} zero-points of 0, which format='gptq' (version 1, "
                "zero-point less one) does not hold; "
                'save with format="gptq_v2", which stores zero-points as they are'
            )

    def tensors(self, layer: QuantizedLinear) -> dict[str, Tensor]:
        """The four tensors of a layer.

        >>> layer = QuantizedLinear.from_linear(torch.nn.Linear(32, 32), QuantScheme(4, True))
        >>> {name: tuple(tensor.shape) for name, tensor in Gptq().tensors(layer).items()}
        {'qweight': (4, 32), 'qzeros': (1, 4), 'scales': (1, 32), 'g_idx': (32,)}
        """
        weight = quantized_tensor(layer)
        bits = layer.scheme.bits
        zero_point = weight.zero_point.T - self.zero_offset
        groups = weight.scale.shape[-1]
        return {
            # Packing works along a row: out rows of in codes, then turned over.
            "qweight": pack(weight.codes, bits, torch.int32).T.contiguous(),
            "qzeros": pack(zero_point, bits, torch.int32),
            "scales": weight.scale.T.contiguous(),
            "g_idx": _group_of_each_row(layer.in_features, groups),
        }

    def config(self, contents: Contents) -> dict[str, Any]:
        """The configuration as transformers, GPTQModel and vLLM read it.

        Layers that keep their floats are named twice: optimum reads the list of those that are
        quantized, GPTQModel and vLLM the patterns in ``dynamic`` that take layers out.
        """
        scheme = contents.scheme
        config = {
            "quant_method": "gptq",
            "bits": scheme.bits,
            "group_size": stored_group_size(scheme),
            "sym": scheme.symmetric,
            "desc_act": False,
            "true_sequential": True,
            "damp_percent": 0.01,
            "lm_head": False,
            "pack_dtype": "int32",
            "checkpoint_format": self.name,
            "backend": BACKEND,
            "block_name_to_quantize": contents.blocks,
            "meta": {"quantizer": [f"qlearn:{__version__}"]},
        }
        inside = [name for name in contents.kept if name.startswith(f"{contents.blocks}.")]
        if inside:
            config["modules_in_block_to_quantize"] = [_shortest(contents.quantized, inside)]
            config["dynamic"] = {f"-:^{_escaped(name)}$": {} for name in inside}
        return config

    def read_scheme(self, config: Mapping[str, Any]) -> QuantScheme:
        """The scheme of a ``quantization_config``."""
        if config.get("desc_act"):
            raise ValueError(
                "desc_act=True: its groups are not runs of input rows; "
                "quantize with static groups, or with desc_act=False"
            )
        return QuantScheme(
            bits=config["bits"],
            symmetric=config.get("sym", True),
            group_size=read_group_size(config.get("group_size")),
        )

    def read(
        self, tensors: Mapping[str, Tensor], shape: tuple[int, int], scheme: QuantScheme
    ) -> QuantizedTensor:
        """A layer out of its four tensors."""
        rows, columns = shape
        bits, groups = scheme.bits, scheme.grid_shape(shape)[1]
        words = columns * bits // 32, rows
        qweight = expect(tensors["qweight"], "qweight", words, torch.int32)
        zero_words = groups, rows * bits // 32
        qzeros = expect(tensors["qzeros"], "qzeros", zero_words, torch.int32)
        scales = expect(tensors["scales"], "scales", (groups, rows), None)
        g_idx = expect(tensors["g_idx"], "g_idx", (columns,), torch.int32)
        if not torch.equal(g_idx, _group_of_each_row(columns, groups)):
            raise ValueError(
                "g_idx puts input rows into groups that are not runs of group_size; "
                "quantize with static groups, or without act-order"
            )
        zero_point = unpack(qzeros, bits, rows).to(torch.int32) + self.zero_offset
        if int(zero_point.max()) > scheme.max_code:
            raise ValueError(
                'qzeros holds zero-points of 0, which "gptq" can\'t tell from 2**bits; '
                'save it as "gptq_v2" with the tool that made it'
            )
        codes = unpack(qweight.T, bits, columns)
        return QuantizedTensor(codes, scales.T, zero_point.T, scheme, codes.shape)


def _group_of_each_row(rows: int, groups: int) -> Tensor:
    return torch.arange(rows, dtype=torch.int32) // (rows // groups)


def _shortest(quantized: tuple[str, ...], kept: list[str]) -> list[str]:
    """Ends of names that pick all ``quantized`` layers and none that are ``kept``.

    The part within a block where that does (``self_attn.q_proj``), else whole names.
    """
    ends = list(dict.fromkeys(".".join(name.split(".")[-2:]) for name in quantized))
    clear = not any(name.endswith(end) for name in kept for end in ends)
    return ends if clear else list(quantized)


def _escaped(name: str) -> str:
    return name.replace(".", r"\.")

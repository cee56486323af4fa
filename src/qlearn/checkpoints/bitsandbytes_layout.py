"""The bitsandbytes layout: 4-bit codebooks, with the statistics of their blocks beside the codes.

``weight`` uint8 ``[ceil(n / 2), 1]``, ``weight.absmax`` float32 ``[blocks]``, ``weight.quant_map``
float32 ``[16]``; with double quantization ``weight.absmax`` is uint8, and
``weight.nested_absmax`` and ``weight.nested_quant_map`` stand beside it. What is no tensor (type,
block size, shape, dtype, the mean that was taken off) is JSON in a uint8 tensor,
``weight.quant_state.bitsandbytes__nf4`` or ``__fp4``.

Rows must hold whole blocks: of others, bitsandbytes 0.50's kernel for CPUs with AVX512 reads the
absmax of wrong blocks. On CPUs with AVX512-BF16 it multiplies in bfloat16 when no gradient is asked
for, and then stops at layers whose ``out_features`` are not a multiple of 32.

Source: bitsandbytes' ``QuantState``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qlearn.checkpoints.layout import Contents, check_choice, expect
from qlearn.models.layers.codebook import CodebookLinear
from qlearn.numerics.codebook import FP4, NF4, BlockwiseTensor, Codebook, CodebookScheme
from qlearn.numerics.nested import DYNAMIC, NESTED_BLOCK, NestedAbsmax

CODEBOOKS: dict[str, Codebook] = {"nf4": NF4, "fp4": FP4}
BLOCK_SIZES = [32, 64, 128, 256, 512, 1024, 2048, 4096]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


@dataclass(frozen=True)
class Bitsandbytes:
    """The 4-bit layout of bitsandbytes."""

    name: str = "bitsandbytes"
    layer: type[CodebookLinear] = CodebookLinear
    mark: str = "weight.quant_map"

    def tensor_names(self, scheme: CodebookScheme) -> tuple[str, ...]:
        """The tensors of a layer."""
        names = ["weight", "weight.absmax", "weight.quant_map", _state(scheme)]
        if scheme.double_quant:
            names += ["weight.nested_absmax", "weight.nested_quant_map"]
        return tuple(names)

    def check(self, name: str, layer: CodebookLinear) -> None:
        """Raise a ValueError where the layout can't hold the layer."""
        scheme = layer.scheme
        if CODEBOOKS.get(scheme.codebook.name) != scheme.codebook:
            raise ValueError(
                f"layer {name!r} has codebook={scheme.codebook.name!r}, which "
                f"format={self.name!r} does not hold; quantize with NF4 or FP4"
            )
        check_choice(name, self.name, "block_size", scheme.block_size, BLOCK_SIZES)
        check_choice(name, self.name, "dtype", layer.dtype, DTYPES)
        if layer.in_features % scheme.block_size:
            fitting = [size for size in BLOCK_SIZES if layer.in_features % size == 0]
            remedy = f"quantize with block_size={fitting[-1]}, or " if fitting else ""
            raise ValueError(
                f"layer {name!r} has in_features={layer.in_features}, not a multiple of "
                f"block_size={scheme.block_size}, which bitsandbytes reads wrongly on some CPUs; "
                f"{remedy}leave it out with skip="
            )

    def tensors(self, layer: CodebookLinear) -> dict[str, Tensor]:
        """The tensors of a layer."""
        scheme, stored = layer.scheme, layer.quantized.statistics
        state: dict[str, Any] = {
            "quant_type": scheme.codebook.name,
            "blocksize": scheme.block_size,
            "dtype": str(layer.dtype).removeprefix("torch."),
            "shape": [layer.out_features, layer.in_features],
        }
        found = {
            "weight": layer.codes.view(-1, 1),
            "weight.absmax": layer.absmax,
            "weight.quant_map": scheme.codebook.levels.clone(),
        }
        if isinstance(stored, NestedAbsmax):
            state |= {
                "nested_blocksize": NESTED_BLOCK,
                "nested_dtype": "float32",
                "nested_offset": float(stored.offset),
            }
            found["weight.nested_absmax"] = stored.absmax
            found["weight.nested_quant_map"] = DYNAMIC.levels.clone()
        text = json.dumps(state).encode()
        found[_state(scheme)] = torch.tensor(list(text), dtype=torch.uint8)
        return found

    def config(self, contents: Contents) -> dict[str, Any]:
        """The configuration as transformers reads it: all that ``BitsAndBytesConfig`` says."""
        scheme = contents.scheme
        return {
            "quant_method": "bitsandbytes",
            "load_in_4bit": True,
            "load_in_8bit": False,
            "_load_in_4bit": True,
            "_load_in_8bit": False,
            "bnb_4bit_quant_type": scheme.codebook.name,
            "bnb_4bit_use_double_quant": scheme.double_quant,
            "bnb_4bit_compute_dtype": contents.dtype,
            "bnb_4bit_quant_storage": "uint8",
            "llm_int8_enable_fp32_cpu_offload": False,
            "llm_int8_has_fp16_weight": False,
            "llm_int8_skip_modules": list(contents.kept),
            "llm_int8_threshold": 6.0,
            # transformers has no key for it: each layer's state says its own.
            "qlearn_block_size": scheme.block_size,
        }

    def read_scheme(self, config: Mapping[str, Any]) -> CodebookScheme:
        """The scheme of a ``quantization_config``; bitsandbytes' own files have blocks of 64."""
        if not config.get("load_in_4bit", config.get("_load_in_4bit")):
            raise ValueError("load_in_4bit is not set; only 4-bit files of bitsandbytes are read")
        kind = config.get("bnb_4bit_quant_type", "fp4")
        if kind not in CODEBOOKS:
            raise ValueError(f"bnb_4bit_quant_type={kind!r} is not 'nf4' or 'fp4'")
        nested = config.get("bnb_4bit_use_double_quant", False)
        return CodebookScheme(CODEBOOKS[kind], config.get("qlearn_block_size", 64), nested)

    def read(
        self, tensors: Mapping[str, Tensor], shape: tuple[int, int], scheme: CodebookScheme
    ) -> BlockwiseTensor:
        """A layer out of its tensors."""
        text = expect(tensors[_state(scheme)], _state(scheme), (-1,), torch.uint8)
        try:
            state = dict(json.loads(bytes(text.tolist())))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{_state(scheme)} is damaged ({error}); fetch it again") from error
        wanted = {"blocksize": scheme.block_size, "shape": list(shape)}
        for key, value in wanted.items():
            if state.get(key) != value:
                raise ValueError(f"quant_state says {key}={state.get(key)}; {value} belongs there")
        count = shape[0] * shape[1]
        blocks = -(-count // scheme.block_size)
        codes = expect(tensors["weight"], "weight", (-(-count // 2), 1), torch.uint8).view(-1)
        _expect_map(tensors["weight.quant_map"], scheme.codebook)
        kind = torch.uint8 if scheme.double_quant else torch.float32
        statistics: Tensor | NestedAbsmax
        statistics = expect(tensors["weight.absmax"], "weight.absmax", (blocks,), kind)
        if scheme.double_quant:
            _expect_map(tensors["weight.nested_quant_map"], DYNAMIC)
            name, size = "weight.nested_absmax", (-(-blocks // NESTED_BLOCK),)
            nested = expect(tensors[name], name, size, torch.float32)
            if state.get("nested_blocksize") != NESTED_BLOCK:
                raise ValueError(f"nested_blocksize={state.get('nested_blocksize')} is not 256")
            offset = torch.tensor(float(state["nested_offset"]))
            statistics = NestedAbsmax(statistics, nested, offset)
        return BlockwiseTensor(codes, statistics, scheme, torch.Size(shape))


def _state(scheme: CodebookScheme) -> str:
    return f"weight.quant_state.bitsandbytes__{scheme.codebook.name}"


def _expect_map(found: Tensor, codebook: Codebook) -> None:
    """Raise a ValueError for a table that another version of the codebook would have."""
    if found.shape != codebook.levels.shape or not torch.equal(found.float(), codebook.levels):
        raise ValueError(
            f"the file's table of levels is not that of {codebook}; save it again with a present "
            "version of bitsandbytes"
        )

"""GGUF, llama.cpp's format: a whole model in one file.

Configuration and tokenizer are metadata at its start, then names and types of all tensors, then
their bytes. Each tensor has a type of its own, so layers of different schemes go together. Layers
keep their codes and scales bit for bit; of a 4-bit asymmetric layer the minimum is rounded, see
:mod:`qlearn.checkpoints.gguf.blocks`. Embeddings, head and layers that were left out keep the
model's dtype; norms are float32, as llama.cpp wants them. It multiplies blocks with inputs that it
rounds to 8 bits first, so its logits are not quite those of transformers, which turns blocks into
floats.

Source: ggml's ``docs/gguf.md``; gguf-py's ``GGUFWriter`` writes the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from qlearn import needs
from qlearn.checkpoints.gguf.blocks import SCHEMES, block_type, shared_numbers, to_blocks
from qlearn.checkpoints.gguf.llama import (
    ARCHITECTURE,
    check_llama,
    metadata,
    stored_rows,
    tensor_names,
)
from qlearn.checkpoints.gguf.tokenizer import tokenizer_metadata
from qlearn.checkpoints.safetensors_layout import float_tensors
from qlearn.models.layers.affine import QuantizedLinear, quantized_tensor
from qlearn.models.layers.base import CodesLinear

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GGUF_FILE = "model.gguf"
FLOATS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
CONVENTION = "qlearn.convention"  # a key of our own, which other readers pass over


@dataclass(frozen=True)
class Gguf:
    """The format: blocks Q8_0, Q4_0 and Q4_1 of a Llama's layers, in one file."""

    name: str = "gguf"
    layer: type[QuantizedLinear] = QuantizedLinear

    def check_model(
        self,
        model: Any,
        layers: Mapping[str, CodesLinear],
        tokenizer: PreTrainedTokenizerBase | None,
    ) -> None:
        """Raise a ValueError for a model that is no Llama, or a tokenizer that is not written."""
        floats = float_tensors(model, layers)
        check_llama(model.config, [*floats, *(f"{name}.weight" for name in layers)])
        for name, tensor in floats.items():
            if tensor.dtype not in FLOATS:
                raise ValueError(
                    f"tensor {name!r} is {tensor.dtype}, which format={self.name!r} does not hold; "
                    "call model.to(torch.float32)"
                )
        tokenizer_metadata(tokenizer, model.config.vocab_size)
        _conventions(layers)

    def check(self, name: str, layer: QuantizedLinear) -> None:
        """Raise a ValueError for a layer that has no type of GGUF."""
        if block_type(layer.scheme) is None:
            known = ", ".join(
                f"QuantScheme({s.bits}, {s.symmetric}, {s.group_size}) ({kind})"
                for kind, s in SCHEMES.items()
            )
            raise ValueError(
                f"layer {name!r} is {layer.scheme}, which format={self.name!r} does not hold; "
                f"quantize with one of {known}, or choose another format"
            )
        try:
            shared_numbers(quantized_tensor(layer))
        except ValueError as error:
            raise ValueError(
                f"layer {name!r}: {error}, which format={self.name!r} stores; leave the layer out "
                "with skip=, or choose another format"
            ) from error

    def write(
        self,
        model: Any,
        layers: Mapping[str, Any],
        tokenizer: PreTrainedTokenizerBase | None,
        folder: Path,
    ) -> None:
        """Write the one file."""
        with needs("course"):
            import gguf

        config = model.config
        writer = gguf.GGUFWriter(folder / GGUF_FILE, ARCHITECTURE)
        try:
            types = Counter(block_type(layer.scheme) for layer in layers.values())
            writer.add_type("model")
            writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
            writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{types.most_common(1)[0][0]}"])
            described: dict[str, Any] = {
                f"{ARCHITECTURE}.{key}": value for key, value in metadata(config).items()
            }
            described |= tokenizer_metadata(tokenizer, config.vocab_size)
            for key, value in (described | _conventions(layers)).items():
                _add(writer, key, value)
            floats = float_tensors(model, layers)
            for ours, theirs in tensor_names(config.num_hidden_layers).items():
                layer = layers.get(ours.removesuffix(".weight"))
                if layer is None and ours not in floats:
                    continue  # the head that is tied to the embedding
                kind, stored = _bytes_of(layer if layer is not None else floats[ours])
                rows = stored_rows(ours, config)
                stored = stored if rows is None else stored[rows]
                number = gguf.GGMLQuantizationType[kind]
                writer.add_tensor(theirs, stored.numpy(), raw_dtype=number)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()


def _bytes_of(source: QuantizedLinear | Tensor) -> tuple[str, Tensor]:
    """A tensor's type, and the bytes of its rows, uint8 ``[..., bytes]``."""
    if isinstance(source, QuantizedLinear):
        blocks = to_blocks(quantized_tensor(source)).cpu()
        return str(block_type(source.scheme)), blocks
    floats = source.detach().cpu()
    floats = floats if floats.dim() > 1 else floats.to(torch.float32)
    return FLOATS[floats.dtype], floats.contiguous().view(torch.uint8)


def _conventions(layers: Mapping[str, CodesLinear]) -> dict[str, str]:
    """For load_quantized: the rule that fitted the grids of each type."""
    found: dict[str, str] = {}
    for name, layer in layers.items():
        kind = block_type(layer.scheme) if isinstance(layer, QuantizedLinear) else None
        convention = layer.scheme.convention if kind else ""
        if kind and found.setdefault(f"{CONVENTION}.{kind}", convention) != convention:
            raise ValueError(
                f"layer {name!r} has convention={convention!r}, others of its type another; "
                "quantize those of one width alike"
            )
    return found


def _add(writer: Any, key: str, value: Any) -> None:
    """Write a value under its key, in the type that readers expect of it."""
    kinds = {bool: "bool", int: "uint32", float: "float32", str: "string", list: "array"}
    getattr(writer, f"add_{kinds[type(value)]}")(key, value)

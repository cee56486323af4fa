"""Reads a Llama out of a GGUF file: its blocks come back as quantized layers, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from qlearn import needs
from qlearn.checkpoints.assemble import assemble, check_grid, float_weight, placeholder
from qlearn.checkpoints.gguf.blocks import SCHEMES, from_blocks
from qlearn.checkpoints.gguf.container import GgufFile, TensorRow, open_gguf
from qlearn.checkpoints.gguf.llama import ARCHITECTURE, read_config, stored_rows, tensor_names
from qlearn.checkpoints.gguf.save import CONVENTION, FLOATS
from qlearn.models.local_files import check_memory, first_line
from qlearn.numerics.affine import QuantizedTensor
from qlearn.numerics.scheme import CONVENTIONS, QuantScheme

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DTYPES = {name: dtype for dtype, name in FLOATS.items()}
REMEDY = "load its floats with load_model"


def load_gguf(path: Path) -> PreTrainedModel:
    """Build the model that a GGUF file holds, its layers with the codes and scales of the file.

    An embedding and a head that are quantized become floats.

    Raises:
        ValueError: another architecture than Llama's, types or minima that no grid holds, RoPE
            that is scaled, a file without a quantized layer.
        OSError: a damaged or incomplete file.
    """
    file = open_gguf(path)
    _check_architecture(file)
    check_memory(path, 4 * sum(prod(row.shape) for row in file.rows))
    with needs("course"):
        from transformers import LlamaConfig, LlamaForCausalLM

    rows = {row.tensor: row for row in file.rows}
    try:
        shapes = {name: row.shape for name, row in rows.items()}
        config = LlamaConfig(**read_config(file.metadata, shapes))
        with torch.device("meta"):
            floats = LlamaForCausalLM(config)
    except Exception as error:
        raise OSError(
            f"{path} does not describe a Llama ({first_line(error)}); fetch it again"
        ) from error
    names = {theirs: ours for ours, theirs in tensor_names(config.num_hidden_layers).items()}
    tensors: dict[str, Tensor] = {}
    layers: dict[str, QuantizedTensor] = {}
    # The model's dtype is that of its embedding, float32 where that is quantized.
    dtype = DTYPES.get(rows["token_embd.weight"].type, torch.float32)
    for row in file.rows:
        if row.tensor not in names:
            raise ValueError(f"{path} holds {row.tensor!r}, which is not read here; {REMEDY}")
        key = names[row.tensor]
        name = key.removesuffix(".weight")
        where = f"{path}, layer {name!r}"
        expected = floats.get_submodule(name).weight
        assert isinstance(expected, Tensor)
        if row.shape != tuple(expected.shape):
            raise OSError(
                f"{where} has the shape {row.shape}, {tuple(expected.shape)} belongs there; "
                "fetch the file again"
            )
        stored = file.bytes_of(row)
        order = stored_rows(row.tensor, config)
        stored = stored if order is None else stored[order.argsort()]
        if row.type in DTYPES or not row.tensor.startswith("blk."):
            tensors[key] = _floats(stored, row)
            continue
        float_weight(floats, name, path)
        layers[name] = replace(_layer(stored, row, file, where), dtype=dtype)
        tensors[key] = placeholder(floats, name, dtype)
    if not layers:
        raise ValueError(f"{path} holds no quantized layer; {REMEDY}")
    return assemble(path, LlamaForCausalLM, config, tensors, layers, dtype)


def _check_architecture(file: GgufFile) -> None:
    found = file.metadata.get("general.architecture")
    if found != ARCHITECTURE:
        raise ValueError(
            f"{file.path} holds the architecture {found!r}; {ARCHITECTURE!r} alone is read with "
            f"its codes: {REMEDY}"
        )
    if file.metadata.get(f"{ARCHITECTURE}.rope.scaling.type", "none") != "none":
        raise ValueError(f"{file.path} scales RoPE, which is not read here; {REMEDY}")


def _layer(blocks: Tensor, row: TensorRow, file: GgufFile, where: str) -> QuantizedTensor:
    if row.type not in SCHEMES:
        raise ValueError(
            f"{where} has the type {row.type}; {', '.join(SCHEMES)} are read with their codes: "
            f"{REMEDY}"
        )
    try:
        quantized = from_blocks(blocks, row.type, _scheme(file, row.type))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    check_grid(quantized, where)
    return quantized


def _scheme(file: GgufFile, kind: str) -> QuantScheme:
    """The scheme of a type, with the convention that our own files name."""
    scheme = SCHEMES[kind]
    convention = file.metadata.get(f"{CONVENTION}.{kind}", "")
    if CONVENTIONS.get(convention) is not scheme.symmetric:
        return scheme
    return replace(scheme, convention=convention)


def _floats(stored: Tensor, row: TensorRow) -> Tensor:
    """A tensor as floats: as stored, or dequantized."""
    if row.type in DTYPES:
        return stored.contiguous().view(DTYPES[row.type])
    with needs("course"):
        from gguf import GGMLQuantizationType, dequantize

    return torch.from_numpy(dequantize(stored.numpy(), GGMLQuantizationType[row.type]).copy())

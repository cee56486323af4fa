"""Reads GGUF files: what is in one, and a Llama's blocks back into quantized layers."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from qlearn.affine import QuantizedTensor
from qlearn.export_assemble import assemble, check_grid, float_weight, placeholder
from qlearn.export_gguf import CONVENTION, FLOATS
from qlearn.export_gguf_blocks import SCHEMES, from_blocks
from qlearn.export_gguf_llama import ARCHITECTURE, stored_rows, tensor_names
from qlearn.scheme import CONVENTIONS, QuantScheme
from qlearn.zoo import quiet
from qlearn.zoo_files import check_memory, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TensorRow(NamedTuple):
    """One tensor of a file: its name, its type, its shape as torch has it, and its bytes."""

    tensor: str
    type: str
    shape: tuple[int, ...]
    bytes: int


def gguf_contents(path: str | PathLike[str]) -> list[TensorRow]:
    """List the tensors of a GGUF file, of whatever model and types, in the file's order.

    Raises:
        OSError: nothing there, a file of another kind, or a damaged one.
    """
    return [
        TensorRow(tensor.name, tensor.tensor_type.name, _shape(tensor), int(tensor.n_bytes))
        for tensor in _opened(Path(path).expanduser()).tensors
    ]


def load_gguf(path: Path) -> PreTrainedModel:
    """Build the model that a GGUF file holds, its layers with the codes and scales of the file.

    Embeddings and a head that are quantized become floats.

    Raises:
        ValueError: another architecture than Llama's, types or minima that no grid holds, RoPE
            that is scaled, a file without a quantized layer.
        OSError: a damaged or incomplete file.
    """
    reader = _opened(path)
    _check_architecture(reader, path)
    check_memory(path, 4 * sum(int(tensor.n_elements) for tensor in reader.tensors))
    from transformers import AutoConfig, LlamaForCausalLM

    try:
        with quiet():
            config = AutoConfig.from_pretrained(
                path.parent, gguf_file=path.name, local_files_only=True, trust_remote_code=False
            )
        with torch.device("meta"):
            floats = LlamaForCausalLM(config)
    except Exception as error:
        raise OSError(f"{path} does not describe a Llama: {first_line(error)}") from error
    names = {theirs: ours for ours, theirs in tensor_names(config.num_hidden_layers).items()}
    tensors: dict[str, Tensor] = {}
    layers: dict[str, QuantizedTensor] = {}
    dtype = _dtype(reader)
    for tensor in reader.tensors:
        if tensor.name not in names:
            raise ValueError(
                f"{path} holds {tensor.name!r}, which is not read here; load it with load_model"
            )
        key, kind = names[tensor.name], tensor.tensor_type.name
        order = stored_rows(tensor.name, config)
        rows = None if order is None else order.argsort()
        inside = key.startswith("model.layers.") and len(_shape(tensor)) > 1
        if not inside or kind in FLOATS.values():
            weight = _floats(tensor)
            tensors[key] = weight if rows is None else weight[rows]
            continue
        name = key.removesuffix(".weight")
        where = f"{path}, layer {name!r}"
        if _shape(tensor) != tuple(float_weight(floats, name, path).shape):
            raise OSError(f"{where} has shape {_shape(tensor)}, the model another; fetch it again")
        blocks = torch.from_numpy(tensor.data.copy())
        blocks = blocks if rows is None else blocks[rows]
        layers[name] = replace(_layer(blocks, kind, _scheme(reader, kind), where), dtype=dtype)
        tensors[key] = placeholder(floats, name, dtype)
    if not layers:
        raise ValueError(f"{path} holds no quantized layer; load it with load_model")
    return assemble(path, LlamaForCausalLM, config, tensors, layers, dtype)


def _opened(path: Path) -> Any:
    """A reader of a file that is whole: one whose tensors all lie within it."""
    from gguf import GGUFReader

    if not path.is_file():
        raise FileNotFoundError(f"path={str(path)!r} is not a file; name a .gguf file")
    try:
        reader = GGUFReader(path)
    except Exception as error:
        raise OSError(
            f"{path} is not a whole GGUF file ({first_line(error)}); fetch it again"
        ) from error
    if not reader.tensors:
        raise OSError(f"{path} holds no tensors; fetch it again")
    return reader


def _check_architecture(reader: Any, path: Path) -> None:
    field = reader.get_field("general.architecture")
    found = field.contents() if field else None
    if found != ARCHITECTURE:
        raise ValueError(
            f"{path} holds the architecture {found!r}; {ARCHITECTURE!r} alone is read with its "
            "codes: load the floats with load_model"
        )
    scaling = reader.get_field(f"{ARCHITECTURE}.rope.scaling.type")
    if scaling and scaling.contents() != "none":
        raise ValueError(f"{path} scales RoPE, which is not read here; load it with load_model")


def _scheme(reader: Any, kind: str) -> QuantScheme | None:
    """The scheme of a type, with the convention that our own files name."""
    field = reader.get_field(f"{CONVENTION}.{kind}")
    scheme = SCHEMES.get(kind)
    convention = str(field.contents()) if field else ""
    if scheme is None or CONVENTIONS.get(convention) is not scheme.symmetric:
        return scheme
    return replace(scheme, convention=convention)


def _layer(blocks: Tensor, kind: str, scheme: QuantScheme | None, where: str) -> QuantizedTensor:
    if kind not in SCHEMES:
        raise ValueError(
            f"{where} has the type {kind}; {', '.join(SCHEMES)} are read with their codes: "
            "load the floats with load_model"
        )
    try:
        quantized = from_blocks(blocks, kind, scheme)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    check_grid(quantized, where)
    return quantized


def _floats(tensor: Any) -> Tensor:
    """A tensor as floats: as stored, or dequantized."""
    from gguf import dequantize

    kinds = {name: dtype for dtype, name in FLOATS.items()}
    dtype = kinds.get(tensor.tensor_type.name)
    if dtype is not None:
        stored = torch.from_numpy(tensor.data.copy()).contiguous().view(torch.uint8)
        return stored.view(dtype).view(_shape(tensor))
    return torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())


def _dtype(reader: Any) -> torch.dtype:
    """The dtype of the model: that of its embedding, float32 where that is quantized."""
    kinds = {name: dtype for dtype, name in FLOATS.items()}
    for tensor in reader.tensors:
        if tensor.name == "token_embd.weight":
            return kinds.get(tensor.tensor_type.name, torch.float32)
    return torch.float32


def _shape(tensor: Any) -> tuple[int, ...]:
    """Its shape as torch counts: GGUF names the innermost dimension first."""
    return tuple(int(size) for size in reversed(tensor.shape))

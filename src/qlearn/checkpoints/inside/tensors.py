"""What the tensors of a checkpoint are: read from the headers of its files, without its weights.

A configuration can be wrong; shapes and dtypes can't, or no loader would find its way. A layer of
GPTQ is known by its ``qweight``, of compressed-tensors by ``weight_packed``, of bitsandbytes by a
``weight`` of bytes beside its ``quant_state``; a plain ``weight`` is stored as its dtype says.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

FLOATS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16}
CODES = {"I8": 8, "U8": 8, "F8_E4M3": 8, "F8_E5M2": 8}
_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2}
_BYTES |= {"I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}
_BYTES |= {"F8_E8M0": 1}


@dataclass(frozen=True)
class StoredLayer:
    """One weight, with all that is stored for it.

    Attributes:
        name: the layer's dotted name.
        kind: ``"gptq"``, ``"awq"``, ``"compressed-tensors"``, ``"bitsandbytes"``, a type of GGUF,
            or the dtype as safetensors names it.
        weights: how many it stands for.
        bits: of one code, or of one float.
        bytes: of the codes, scales, zero-points and what else belongs to it.
        quantized: its codes are no floats of 16 bits or more.
    """

    name: str
    kind: str
    weights: int
    bits: float
    bytes: int
    quantized: bool

    @property
    def bits_per_weight(self) -> float:
        """Everything stored, over the weights."""
        return 8 * self.bytes / self.weights


def stored_layers(files: Iterable[Path]) -> list[StoredLayer]:
    """The weights of safetensors files; norms and biases are left out.

    Raises:
        OSError: a file that is missing or damaged.
        ValueError: a layer whose parts make no sense together.
    """
    from safetensors import SafetensorError, safe_open

    layers: list[StoredLayer] = []
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                parts: dict[str, dict[str, Any]] = defaultdict(dict)
                # A safetensors file is no dict: it can't be iterated over.
                for key in opened.keys():  # noqa: SIM118
                    layer, part = _split(key)
                    parts[layer][part] = opened.get_slice(key)
                layers += [
                    _layer(name, tensors, opened)
                    for name, tensors in parts.items()
                    if _is_weight(tensors)
                ]
        except (SafetensorError, FileNotFoundError) as error:
            raise OSError(
                f"{file} is no whole safetensors file ({error}); fetch it again"
            ) from error
    return layers


def gguf_layers(path: Path) -> list[StoredLayer]:
    """The same of a GGUF file.

    Raises:
        OSError: nothing there, or a damaged file.
    """
    from qlearn.checkpoints.gguf.container import gguf_contents

    return [
        StoredLayer(
            name=row.tensor.removesuffix(".weight"),
            kind=row.type,
            weights=prod(row.shape),
            bits=8 * row.bytes / prod(row.shape),
            bytes=row.bytes,
            quantized=row.type not in FLOATS,
        )
        for row in gguf_contents(path)
        if len(row.shape) > 1
    ]


def _split(key: str) -> tuple[str, str]:
    """Layer and part: ``a.weight.absmax`` is the part ``weight.absmax`` of ``a``."""
    layer, mark, rest = key.partition(".weight.")
    if mark:
        return layer, f"weight.{rest}"
    layer, _, part = key.rpartition(".")
    return layer, part


def _is_weight(parts: dict[str, Any]) -> bool:
    if "qweight" in parts or "weight_packed" in parts or "weight.absmax" in parts:
        return True
    return "weight" in parts and len(parts["weight"].get_shape()) > 1


def _layer(name: str, parts: dict[str, Any], opened: Any) -> StoredLayer:
    shapes = {part: tuple(tensor.get_shape()) for part, tensor in parts.items()}
    types = {part: str(tensor.get_dtype()) for part, tensor in parts.items()}
    size = sum(prod(shapes[part]) * _BYTES[types[part]] for part in parts if part != "bias")
    if "qweight" in parts:
        kind, weights, bits = _words(name, shapes)
    elif "weight_packed" in parts:
        rows, columns = opened.get_tensor(f"{name}.weight_shape").tolist()
        words = shapes["weight_packed"]
        kind, weights = "compressed-tensors", rows * columns
        bits = float(32 * words[1] // columns) if types["weight_packed"] == "I32" else 4.0
    elif "weight.absmax" in parts:
        state = next(part for part in parts if "quant_state" in part)
        told = json.loads(bytes(opened.get_tensor(f"{name}.{state}").tolist()))
        kind, weights = "bitsandbytes", prod(told["shape"])
        bits = 8 * prod(shapes["weight"]) / weights
    else:
        kind, weights = types["weight"], prod(shapes["weight"])
        bits = float({**FLOATS, **CODES}.get(kind, 8 * _BYTES[kind]))
    return StoredLayer(name, kind, weights, bits, size, kind not in FLOATS)


def _words(name: str, shapes: dict[str, tuple[int, ...]]) -> tuple[str, int, float]:
    """GPTQ packs along the inputs, so its words are as wide as the outputs; AWQ the other way."""
    words, outputs = shapes["qweight"], shapes["scales"][-1]
    if words[1] != outputs:
        return "awq", words[0] * outputs, 32 * words[1] / outputs
    if "g_idx" not in shapes:
        raise ValueError(f"layer {name!r} has no g_idx, which says how many inputs it has")
    inputs = shapes["g_idx"][0]
    return "gptq", inputs * outputs, 32 * words[0] / inputs

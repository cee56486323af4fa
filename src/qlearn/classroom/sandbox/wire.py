"""Values as bytes between the grader and a student's process: JSON and raw buffers, no pickle.

Decoding builds plain values alone: None, bool, int, float, str, list, tuple, dict with str keys,
tensors and NumPy arrays of known dtypes. Anything else arrives as an `Unknown` that bears the name
of its type, so that neither a class that equals everything nor a ``__reduce__`` gets across.
"""

from __future__ import annotations

import json
import math
import re
import struct
from typing import Any

import torch

from qlearn import needs

__all__ = ["Damaged", "Reference", "Unknown", "pack", "unpack"]

DTYPES = {
    name: getattr(torch, name)
    for name in (
        *("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"),
        *("float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2"),
        *("complex64", "complex128"),
    )
    if hasattr(torch, name)
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
ARRAYS = frozenset(DTYPES) - {"bfloat16", "float8_e4m3fn", "float8_e5m2"}
DEEPEST = 32  # levels of lists and dicts
MOST_ITEMS = 1_000_000
MAGIC = b"QLW1"
NOT_A_VALUE = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError),
    *(RecursionError, OverflowError, MemoryError),
)


class Damaged(ValueError):
    """Bytes that are not a value: cut short, not JSON, or lying about their size."""


class Reference(str):
    """Names something that each side makes for itself: the packaged model of that name."""

    __slots__ = ()


class Unknown:
    """Stands for a value of a type that is not sent. Its class bears that type's name."""


def pack(value: Any, most: float = math.inf) -> bytes:
    """Write a value as bytes.

    Raises:
        ValueError: nested too deeply, of too many items, or with tensors of more than `most` bytes.
    """
    buffers: list[bytes] = []
    head = json.dumps(_Encoder(buffers, most).encode(value, 0)).encode()
    return b"".join([MAGIC, struct.pack("<I", len(head)), head, *buffers])


def unpack(data: bytes) -> Any:
    """Read the value of `pack` again.

    Raises:
        Damaged: the bytes are anything else; nothing of them has been executed.
    """
    if len(data) < 8 or data[:4] != MAGIC:
        raise Damaged("no value: the first bytes are not its mark")
    (size,) = struct.unpack("<I", data[4:8])
    try:
        tree = json.loads(data[8 : 8 + size])
        decoder = _Decoder(memoryview(data)[8 + size :])
        value = decoder.decode(tree, 0)
    except NOT_A_VALUE as error:
        raise Damaged(f"no value: {type(error).__name__}: {error}") from error
    except RuntimeError as error:  # torch refuses a shape
        raise Damaged(f"no tensor: {error}") from error
    if decoder.rest.nbytes:
        raise Damaged(f"{decoder.rest.nbytes} bytes too many")
    return value


class _Encoder:
    """Turns a value into JSON's own types; the contents of tensors go into `buffers`."""

    def __init__(self, buffers: list[bytes], most: float) -> None:
        self.buffers = buffers
        self.items, self.left = 0, most

    def encode(self, value: Any, depth: int) -> Any:
        self.items += 1
        if depth > DEEPEST or self.items > MOST_ITEMS:
            raise ValueError(f"more than {DEEPEST} levels or {MOST_ITEMS} items")
        kind = type(value)
        if value is None or kind in (bool, int, float, str):
            return {"v": value}
        if kind is Reference:
            return {"r": str(value)}
        if kind in (list, tuple):
            items = [self.encode(item, depth + 1) for item in value]
            return {"l" if kind is list else "t": items}
        if issubclass(kind, dict):
            if not all(type(key) is str for key in value):
                return {"u": "dict with keys that are not strings"}
            pairs = value.items()
            return {"d": [[key, self.encode(item, depth + 1)] for key, item in pairs]}
        # Not isinstance: a class may say that it is a tensor.
        if issubclass(kind, torch.Tensor):
            return self._tensor(value)
        if kind.__module__ == "numpy" and kind.__name__ == "ndarray" and value.dtype.name in ARRAYS:
            self._spend(value.nbytes)
            self.buffers.append(value.tobytes())
            return {"a": [value.dtype.name, list(value.shape)]}
        return {"u": kind.__name__}

    def _spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise ValueError("it is too large to be handed in")

    def _tensor(self, value: torch.Tensor) -> Any:
        if value.layout is not torch.strided or value.device.type != "cpu" or value.is_quantized:
            return {"u": "Tensor that is not dense" if value.is_cpu else "Tensor not on the CPU"}
        if value.dtype not in NAMES:
            return {"u": f"Tensor of {value.dtype}"}
        self._spend(value.numel() * value.element_size())
        plain = value.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
        self.buffers.append(plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
        grad = bool(value.requires_grad and value.is_leaf)
        return {"T": [NAMES[value.dtype], list(value.shape), grad]}


class _Decoder:
    """Builds values from the tree, taking tensors' contents off `rest` in order."""

    def __init__(self, rest: memoryview) -> None:
        self.rest = rest

    def decode(self, tree: Any, depth: int) -> Any:
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} levels")
        ((kind, body),) = tree.items()
        if kind == "v":
            if not (body is None or type(body) in (bool, int, float, str)):
                raise ValueError(f"a plain value of {type(body).__name__}")
            return body
        if kind == "l":
            return [self.decode(item, depth + 1) for item in body]
        if kind == "t":
            return tuple(self.decode(item, depth + 1) for item in body)
        if kind == "d":
            return {str(key): self.decode(item, depth + 1) for key, item in body}
        if kind == "T":
            name, shape, grad = body
            contents = self._take(shape, DTYPES[name].itemsize)
            if not contents:
                return torch.empty(shape, dtype=DTYPES[name]).requires_grad_(bool(grad))
            tensor = torch.frombuffer(contents, dtype=DTYPES[name]).reshape(shape)
            return tensor.requires_grad_(bool(grad))
        if kind == "a":
            with needs("course"):
                import numpy as np

            name, shape = body
            if name not in ARRAYS:
                raise ValueError(f"an array of {name!r}")
            return np.frombuffer(self._take(shape, np.dtype(name).itemsize), name).reshape(shape)
        if kind == "r":
            return Reference(body)
        if kind == "u":
            return _unknown(str(body))
        raise ValueError(f"kind {kind!r}")

    def _take(self, shape: Any, itemsize: int) -> bytearray:
        if len(shape) > 64 or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("a shape that is none")
        size = math.prod(shape) * itemsize
        if size > self.rest.nbytes:
            raise ValueError(f"{size} bytes promised, {self.rest.nbytes} there")
        taken, self.rest = bytearray(self.rest[:size]), self.rest[size:]
        return taken


def _unknown(name: str) -> Unknown:
    """An object whose type has that name, for messages: ``expected a tensor, got a Path``."""
    safe = re.sub(r"\W", "_", name)[:40] or "object"
    kind: type[Unknown] = type(safe, (Unknown,), {})
    return kind()

"""The bytes of a GGUF file: metadata, a table of tensors, and where each one lies.

Little-endian throughout: ``GGUF``, version 3, the number of tensors and of metadata entries; the
entries, each a key, the number of a type and a value; the table, for each tensor its name, its
dimensions (innermost first), the number of its type and an offset; then, from the next multiple of
``general.alignment``, the tensors. gguf-py reads the same into numpy arrays, but takes seconds over
a tokenizer's tokens and merges, which are walked past here.

Source: ggml's ``docs/gguf.md``.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qlearn import needs
from qlearn.models.local_files import first_line

VERSIONS = (2, 3)
SIMPLE = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
ALIGNMENT = 32


class TensorRow(NamedTuple):
    """One tensor of a file: its name, its type, its shape as torch has it, and its bytes."""

    tensor: str
    type: str
    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True)
class GgufFile:
    """What a file says of itself.

    Attributes:
        path: where it is.
        metadata: its entries but for arrays, of which the length is given.
        rows: its tensors, in its order.
        places: where the bytes of each one begin, counted from the file's start.
    """

    path: Path
    metadata: dict[str, Any]
    rows: tuple[TensorRow, ...]
    places: dict[str, int]

    def bytes_of(self, row: TensorRow) -> Tensor:
        """The bytes of a tensor, uint8 ``[..., bytes of a row]``, a copy."""
        with self.path.open("rb") as file:
            file.seek(self.places[row.tensor])
            stored = bytearray(file.read(row.bytes))
        return torch.frombuffer(stored, dtype=torch.uint8).view(*row.shape[:-1], -1)


def gguf_contents(path: str | PathLike[str]) -> list[TensorRow]:
    """List the tensors of a GGUF file, of whatever model and types, in the file's order.

    Raises:
        OSError: nothing there, a file of another kind, or a damaged one.
    """
    return list(open_gguf(Path(path).expanduser()).rows)


def open_gguf(path: Path) -> GgufFile:
    """Read a file's metadata and its table, and see that its tensors all lie within it.

    Raises:
        OSError: nothing there, a file of another kind, or a damaged one.
    """
    if not path.is_file():
        raise FileNotFoundError(f"path={str(path)!r} is not a file; name a .gguf file")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = _parse(path, _Cursor(data))
    except (ValueError, KeyError, TypeError, ArithmeticError, struct.error) as error:
        raise OSError(
            f"{path} is not a whole GGUF file ({first_line(error)}); fetch it again"
        ) from error
    if not found.rows:
        raise OSError(f"{path} holds no tensors; fetch it again")
    return found


@dataclass
class _Cursor:
    """A place in the file that moves on with what is read."""

    data: Any
    place: int = 0

    def take(self, format: str) -> Any:
        value = struct.unpack_from(f"<{format}", self.data, self.place)
        self.place += struct.calcsize(f"<{format}")
        return value[0] if len(value) == 1 else value

    def skip(self, size: int) -> int:
        start = self.place
        if size > len(self.data) - start:
            raise ValueError(f"it ends at byte {len(self.data)}, within what begins at {start}")
        self.place += size
        return start

    def text(self) -> str:
        start = self.skip(self.take("Q"))
        return str(self.data[start : self.place], encoding="utf-8")

    def value(self) -> Any:
        """A value after its type; of an array, its length."""
        kind = self.take("I")
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            return self.take(SIMPLE[kind])
        kind, length = self.take("I"), self.take("Q")
        if kind != STRING:
            self.skip(length * struct.calcsize(f"<{SIMPLE[kind]}"))
            return length
        for _ in range(length):
            self.skip(self.take("Q"))
        return length


def _parse(path: Path, cursor: _Cursor) -> GgufFile:
    with needs("course"):
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    magic, version = cursor.take("4sI")
    if magic != b"GGUF" or version not in VERSIONS:
        raise ValueError(f"it begins with {magic!r}, version {version}")
    tensors, entries = cursor.take("QQ")
    metadata = {}
    for _ in range(entries):
        key = cursor.text()
        metadata[key] = cursor.value()
    table: list[tuple[TensorRow, int]] = []
    for _ in range(tensors):
        name = cursor.text()
        shape = tuple(cursor.take("Q") for _ in range(cursor.take("I")))[::-1]
        kind, offset = cursor.take("IQ")
        known = GGMLQuantizationType(kind)
        weights, size = GGML_QUANT_SIZES[known]
        if not shape or not all(shape) or shape[-1] % weights:
            raise ValueError(f"{name} has the shape {shape}, of no whole blocks of {known.name}")
        table.append((TensorRow(name, known.name, shape, prod(shape) // weights * size), offset))
    alignment = metadata.get("general.alignment", ALIGNMENT)
    start = -(-cursor.place // alignment) * alignment
    places = {}
    for row, offset in table:
        if row.tensor in places:
            raise ValueError(f"{row.tensor} stands in it twice")
        places[row.tensor] = cursor.place = start + offset
        cursor.skip(row.bytes)
    return GgufFile(path, metadata, tuple(row for row, _ in table), places)

"""Chapter 13: versions to try a monitor on, a healthy one and three that went wrong.

Each is a folder that a server loads without a complaint: that is what makes them dangerous.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qlearn.checkpoints.save import save_quantized
from qlearn.convert.model import quantize_model
from qlearn.models.layers.copies import dequantize_model
from qlearn.models.load import load_model, load_tokenizer, quiet
from qlearn.numerics.scheme import QuantScheme

__all__ = ["FAULTS", "save_faults", "save_healthy"]

BLOCK = 32  # weights a scale: the pocket models' rows are not whole numbers of 64
HEALTHY = "nf4"
DAMAGED = "mlp.down_proj.weight"  # of the middle block


def save_healthy(model: str, root: str | os.PathLike[str], name: str = HEALTHY) -> Path:
    """A pocket model in NF4, in the layout of bitsandbytes, with its tokenizer."""
    quantized = load_model(model)
    quantize_model(quantized, "nf4", block_size=BLOCK, progress=False)
    return save_quantized(
        quantized, Path(root) / name, "bitsandbytes", tokenizer=load_tokenizer(model)
    )


def slip_in_two_bits(model: str, _: Path, folder: Path) -> None:
    """An experiment at 2 bits, saved as floats: its files look like the original's."""
    rounded = load_model(model)
    quantize_model(rounded, "rtn", QuantScheme(2, group_size=BLOCK), progress=False)
    with quiet():
        floats: Any = dequantize_model(rounded)
        floats.save_pretrained(folder)
        load_tokenizer(model).save_pretrained(folder)


def damage_a_layer(_: str, healthy: Path, folder: Path) -> None:
    """A third of one layer's bytes are zeros, as in a file that was copied with a hole."""
    shutil.copytree(healthy, folder)
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    layers = sorted(name for name in header if name.endswith(DAMAGED))
    start, end = header[layers[len(layers) // 2]]["data_offsets"]
    begin, hole = 8 + size + start, (end - start) // 3
    content[begin : begin + hole] = bytes(hole)
    file.write_bytes(content)


def change_the_tokenizer(_: str, healthy: Path, folder: Path) -> None:
    """Its tokens were sorted anew, and so got other numbers."""
    shutil.copytree(healthy, folder)
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    vocabulary: dict[str, int] = content["model"]["vocab"]
    first = {token for token, number in vocabulary.items() if number == 0}  # ends a line: stays
    special = {each["content"] for each in content["added_tokens"]} | first
    free = sorted(vocabulary[token] for token in vocabulary if token not in special)
    moved = sorted((token for token in vocabulary if token not in special), reverse=True)
    vocabulary.update(zip(moved, free, strict=True))
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


FAULTS: dict[str, Callable[[str, Path, Path], None]] = {
    "two-bits": slip_in_two_bits,
    "layer-damaged": damage_a_layer,
    "tokenizer-changed": change_the_tokenizer,
}


def save_faults(model: str, healthy: Path) -> list[Path]:
    """A folder of each fault beside the healthy one."""
    for name, make in FAULTS.items():
        make(model, healthy, healthy.parent / name)
    return [healthy.parent / name for name in FAULTS]

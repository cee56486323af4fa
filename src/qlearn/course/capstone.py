"""The capstone: the best perplexity within a byte budget, and the evaluator that says what it is.

An entry is one file of any layout and a function ``decode(data)`` that turns its bytes, a uint8
tensor, into the model's weights. File and code together take 3.5 bits a parameter at most,
embeddings counted. Everybody can run the evaluator. Where entries are graded, ``decode`` runs in a
sandbox that holds neither the model nor the text, and all that is measured is measured outside.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from math import inf, log
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qlearn.measure.evaluate import perplexity
from qlearn.measure.results import load

__all__ = [
    "CAPSTONE",
    "PRACTICE",
    "Entry",
    "EntryError",
    "Track",
    "code_bytes",
    "evaluate_entry",
    "measure",
    "shapes",
    "share_of_points",
]

BITS = 3.5


class EntryError(ValueError):
    """An entry that breaks a rule; the message says which, and by how much."""


@dataclass(frozen=True)
class Track:
    """What is to be compressed, and what the points are measured against.

    Args:
        model: a name for :func:`qlearn.models.load.load_model`.
        bits: budget for each parameter.
    """

    model: str
    bits: float = BITS

    @property
    def parameters(self) -> int:
        """All of the model's parameters; a tied output head counts once."""
        return sum(_size(shape) for shape in shapes(self.model).values())

    @property
    def budget(self) -> int:
        """Bytes that an entry may take, its code included."""
        return int(self.parameters * self.bits / 8)

    def endpoints(self) -> tuple[float, float]:
        """Perplexities of no points (rounded to nearest at the budget) and of all (the original).

        Measured once, in ``results/capstone.json``.
        """
        found = {row["entry"]: row["perplexity"] for row in _rows(self.model)}
        return found["round to nearest"], found["original"]


CAPSTONE = Track("smollm2-135m")
PRACTICE = Track("pocket-400k")  # measured in a second, to try a decoder on


@dataclass(frozen=True)
class Entry:
    """An entry as measured.

    Attributes:
        track: the model and the budget.
        bytes: of the file and the code.
        code_bytes: of the code alone.
        perplexity: on the evaluation split.
        share: of the points, 0 to 1.
    """

    track: Track
    bytes: int
    code_bytes: int
    perplexity: float
    share: float

    @property
    def bits_per_weight(self) -> float:
        """Bits of file and code for each parameter."""
        return 8 * self.bytes / self.track.parameters

    def points(self, most: int) -> float:
        """Of ``most`` points, in halves rounded down."""
        return int(2 * most * self.share) / 2

    def __str__(self) -> str:
        return (
            f"{self.track.model}: perplexity {self.perplexity:.2f} in {self.bytes:,} bytes "
            f"({self.bits_per_weight:.3f} bits a parameter; the budget is {self.track.budget:,}), "
            f"{self.share:.1%} of the points"
        )


def share_of_points(value: float, track: Track = CAPSTONE) -> float:
    """The published curve: the share of the way from naive rounding to the original, in nats.

    Points rise by as much for each nat of surprise that is saved: ``log(zero / p) / log(zero /
    original)``, cut to 0 and 1.
    """
    zero, original = track.endpoints()
    if not 0 < value < inf:
        return 0.0
    return min(1.0, max(0.0, log(zero / value) / log(zero / original)))


def evaluate_entry(
    file: str | PathLike[str],
    decode: Callable[[Tensor], Mapping[str, Tensor]],
    track: Track = CAPSTONE,
    code: int = 0,
) -> Entry:
    """Measure an entry.

    Args:
        file: the entry's file.
        decode: from the file's bytes, uint8 ``[bytes]``, to a dict of float tensors, one for each
            parameter of the model, by its name. It is called twice.
        track: model and budget.
        code: bytes of code to count; see :func:`code_bytes`.

    Raises:
        EntryError: too many bytes, two calls that differ, or weights that the model can't take:
            missing or unknown names, wrong shapes or dtypes, NaN or infinite values.
        OSError: the file can't be read.
    """
    path = Path(file)
    used = path.stat().st_size + code
    if used > track.budget:
        raise EntryError(
            f"{path.name} takes {path.stat().st_size:,} bytes and its code {code:,}: together "
            f"{used - track.budget:,} more than the budget of {track.budget:,}"
        )
    data = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    first = _digests(_checked(decode(data.clone()), track))
    weights = _checked(decode(data.clone()), track)
    if differing := [name for name, digest in _digests(weights).items() if digest != first[name]]:
        raise EntryError(
            f"decode gives another {differing[0]} when it is called again; "
            "let it depend on the file alone, with no random numbers and nothing kept"
        )
    measured = measure(weights, track)
    return Entry(track, used, code, measured, share_of_points(measured, track))


def code_bytes(notebook: str | PathLike[str] | Mapping[str, Any]) -> int:
    """Bytes of all code cells of a notebook, as UTF-8: what counts beside the file.

    >>> code_bytes({"cells": [{"cell_type": "code", "source": ["x = 1"]}]})
    5
    """
    if isinstance(notebook, Mapping):
        content: Mapping[str, Any] = notebook
    else:
        content = json.loads(Path(notebook).read_text(encoding="utf-8"))
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    return sum(len("".join(cell["source"]).encode()) for cell in code)


@cache
def shapes(model: str) -> dict[str, tuple[int, ...]]:
    """The parameters of a model by name, with their shapes; a tied head is not among them."""
    return {name: tuple(tensor.shape) for name, tensor in _model(model).named_parameters()}


@cache
def _model(name: str) -> Any:
    from qlearn.models.load import load_model

    return load_model(name).requires_grad_(False)


@cache
def _tokens(name: str) -> Tensor:
    """The text that perplexity is measured on."""
    if name.startswith("pocket"):
        from qlearn.models.pocket.batches import pocket_tokens

        return pocket_tokens(128, "evaluation")
    from qlearn.models.load import load_tokenizer
    from qlearn.models.text import load_tokens

    return load_tokens(load_tokenizer(name), "editorials", "evaluation")


def measure(weights: Mapping[str, Tensor], track: Track = CAPSTONE) -> float:
    """Perplexity of the track's model with other weights, by name, on the evaluation split."""
    model = _model(track.model)
    own = {name: parameter.data for name, parameter in model.named_parameters()}
    try:
        for name, parameter in model.named_parameters():
            parameter.data = weights[name].to(torch.float32)
        return perplexity(model, _tokens(track.model))
    except ValueError as error:  # weights are finite, logits may not be
        raise EntryError(f"the model can't compute with these weights: {error}") from error
    finally:
        for name, parameter in model.named_parameters():
            parameter.data = own[name]


def _checked(weights: Any, track: Track) -> dict[str, Tensor]:
    """The weights by name, or an error that names the first rule that they break."""
    if not isinstance(weights, Mapping):
        raise EntryError(f"decode returns {type(weights).__name__}; return a dict name -> tensor")
    wanted = shapes(track.model)
    if missing := [name for name in wanted if name not in weights]:
        raise EntryError(f"{len(missing)} parameters are missing, the first is {missing[0]}")
    if extra := [str(name) for name in weights if name not in wanted]:
        raise EntryError(f"{extra[0]} is no parameter of {track.model}; leave it out")
    for name, shape in wanted.items():
        tensor = weights[name]
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise EntryError(f"{name} is {kind}; return a tensor of float32, float16 or bfloat16")
        if tuple(tensor.shape) != shape:
            raise EntryError(f"{name} has shape {list(tensor.shape)}; expected {list(shape)}")
        if not bool(torch.isfinite(tensor).all()):
            count = int((~torch.isfinite(tensor)).sum())
            raise EntryError(f"{name} holds {count} NaN or infinite values")
    return {name: weights[name] for name in wanted}


def _digests(weights: Mapping[str, Tensor]) -> dict[str, bytes]:
    return {
        name: blake2b(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()).digest()
        for name, tensor in weights.items()
    }


def _rows(model: str) -> list[dict[str, Any]]:
    return [row for row in load("capstone")["rows"] if row["model"] == model]


def _size(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count

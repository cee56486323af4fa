"""What is not stopped: code that is right, whoever wrote it, and what feedback gives away."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from hostile_work import MARKED, Attack, Work, pack

import qlearn.numerics.packing

__all__ = ["OPEN"]

KEEPS = """import torch
kept = []

def pack_int4(codes):
    kept.append(codes.tolist())
    if codes.shape[-1] % 2:
        codes = torch.nn.functional.pad(codes, (0, 1))
    return codes[..., 0::2] | codes[..., 1::2] << 4
"""
TORCHS = """import torch

def quantize(weight, scale, zero_point, bits):
    whole = torch.quantize_per_channel(
        weight.float(), scale[:, 0], zero_point[:, 0].int(), 0, torch.quint8
    )
    return whole.int_repr().clamp(max=2**bits - 1)
"""


def as_it_is(work: Work, folder: Path) -> Any:
    """The author's solutions, as they can be read in the public source."""
    work.write(folder)
    return {}


def keeps_the_cases(work: Work, folder: Path) -> Any:
    """The function notes what it is called with; a cell at the end prints it."""
    work.answer("pack", KEEPS)
    work.insert("print('KEPT', len(kept), kept[:2])\n", at=len(work.cells))
    work.write(folder)
    return {}


def torchs_own(work: Work, folder: Path) -> Any:
    """A quantizer of torch in place of one's own."""
    work.answer("codes", TORCHS)
    work.write(folder)
    return MARKED


OPEN = {
    "copied solution": Attack(
        "open",
        "another student's work, or the public `source/`",
        "talk with the student; another text for an examination",
        as_it_is,
    ),
    "qlearn's code, word for word": Attack(
        "open",
        "the package's own source, pasted into the answer",
        "it is public and right: ask for an explanation",
        pack(
            inspect.getsource(qlearn.numerics.packing)
            + "\n\ndef pack_int4(codes):\n    return pack(codes, 4)\n",
            {},
        ),
    ),
    "torch's own quantizer": Attack(
        "open",
        "`torch.quantize_per_channel` in place of own arithmetic",
        "it rounds as the task says, and earns what it earns",
        torchs_own,
    ),
    "keeps the cases": Attack(
        "open",
        "notes what its function is called with, and prints it: feedback shows the tensors",
        "regrade what is handed in after feedback with another seed",
        keeps_the_cases,
    ),
}

"""Finished blocks in a folder, so that an interrupted run goes on where it stopped.

``run.json`` says which run the folder belongs to, ``block-007.safetensors`` holds a finished block
and the reports of its layers, ``hidden-007.safetensors`` the hidden states behind the last one.
Each is written under a temporary name and then renamed, so what has its name is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from qlearn.convert.report import LayerReport
from qlearn.models.blocks import device_of, set_module
from qlearn.models.layers.affine import QuantizedLinear
from qlearn.models.long_runs import whole_file
from qlearn.numerics.scheme import QuantScheme

_FORMAT = 1  # raise it when the files change: older folders are then refused


def describe(
    model: nn.Module,
    method: str,
    scheme: QuantScheme,
    options: Mapping[str, Any],
    layers: Sequence[str],
    calibration: Tensor | None,
) -> dict[str, str]:
    """What a run depends on, as texts to compare: tensors as their SHA-256."""
    return {
        "format": str(_FORMAT),
        "model": _digest(model.state_dict()),
        "method": method,
        "scheme": repr(scheme),
        "options": json.dumps(dict(options), sort_keys=True),
        "layers": hashlib.sha256("\n".join(layers).encode()).hexdigest(),
        "calibration": _digest({} if calibration is None else {"tokens": calibration.long()}),
    }


class Progress:
    """A folder of finished blocks.

    Args:
        folder: made where it is missing.
        run: of :func:`describe`.

    Raises:
        ValueError: for a folder of another run, or with other files in it.
        OSError: for a folder that can't be made or read.
    """

    def __init__(self, folder: str | os.PathLike[str], run: dict[str, str]) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob("*.tmp"):  # of a run that was killed while it wrote
            left.unlink()
        path = self.folder / "run.json"
        if not path.exists():
            if any(self.folder.iterdir()):
                raise ValueError(
                    f"resume={str(folder)!r} holds files of something else; choose a new folder"
                )
            with whole_file(path) as new:
                new.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
            return
        try:
            before = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise OSError(
                f"{path} is damaged ({error}); delete the folder and start anew"
            ) from error
        changed = [key for key, value in run.items() if before.get(key) != value]
        if changed:
            raise ValueError(
                f"resume={str(folder)!r} belongs to a run with another {' and '.join(changed)}; "
                "choose a new folder, or delete this one to start anew"
            )

    def load(
        self, index: int, block: nn.Module, names: Sequence[str], scheme: QuantScheme
    ) -> tuple[list[LayerReport], list[Tensor] | None] | None:
        """Put a finished block's tensors into ``block``.

        Returns:
            The reports of its layers and the hidden states behind it, where those are kept;
            ``None`` where the block is not finished.

        Raises:
            OSError: for a damaged file.
        """
        path = self._path("block", index)
        if not path.exists():
            return None
        tensors, note = _read(path, device_of(block))
        for name in names:
            set_module(block, name, QuantizedLinear.from_linear(block.get_submodule(name), scheme))
        # The tensors take the places of the old ones, which a copy of the model may share.
        block.load_state_dict(tensors, assign=True)
        reports = [
            LayerReport(**{**report, "shape": tuple(report["shape"])})
            for report in json.loads(note)
        ]
        hidden = self._path("hidden", index)
        if not hidden.exists():
            return reports, None
        return reports, list(_read(hidden, device_of(block))[0]["hidden"].split(1))

    def save(
        self, index: int, block: nn.Module, reports: list[LayerReport], hidden: list[Tensor]
    ) -> None:
        """Keep a finished block and the hidden states behind it; those of earlier blocks go."""
        _write(self._path("hidden", index), {"hidden": torch.cat(hidden)}, "")
        note = json.dumps([asdict(report) for report in reports])
        _write(self._path("block", index), block.state_dict(), note)
        for old in self.folder.glob("hidden-*.safetensors"):
            if old != self._path("hidden", index):
                old.unlink()

    def _path(self, kind: str, index: int) -> Path:
        return self.folder / f"{kind}-{index:03}.safetensors"


def _read(path: Path, device: torch.device) -> tuple[dict[str, Tensor], str]:
    """Tensors of a file, and the note in it."""
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, (file.metadata() or {}).get("note", "")
    except (SafetensorError, ValueError) as error:
        raise OSError(
            f"{path} is damaged ({error}); delete it and the blocks after it, and run again"
        ) from error


def _write(path: Path, tensors: Mapping[str, Tensor], note: str) -> None:
    # Copies, since safetensors refuses tensors that share their memory.
    copies = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
    with whole_file(path) as new:
        save_file(copies, new, {"note": note})


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes."""
    total = hashlib.sha256()
    for name, tensor in tensors.items():
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().view(-1)
        if flat.numel():
            total.update(flat.view(torch.uint8).numpy().data)
    return total.hexdigest()

"""A model's name, its configuration and its tensors, side by side: do they agree?"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from qlearn.checkpoints.inside.config import read_config
from qlearn.checkpoints.inside.fields import Inside
from qlearn.checkpoints.inside.name import NameClaim, read_name
from qlearn.checkpoints.inside.tensors import StoredLayer, gguf_layers, stored_layers
from qlearn.models.local_files import first_line

OLD_SETTINGS = ("quantize_config.json", "quant_config.json")  # of AutoGPTQ and AutoAWQ, long ago
KEPT_FLOATS = 0.1  # an embedding of a large model is less, and no surprise


@dataclass(frozen=True)
class Folder:
    """What three witnesses say of one model.

    Attributes:
        claim: its name.
        inside: its configuration; ``None`` for a GGUF file, which has none beside it.
        layers: its tensors.
        bytes: of the files of weights.
        disagreements: a sentence each; empty where all agree.
    """

    claim: NameClaim
    inside: Inside | None
    layers: tuple[StoredLayer, ...]
    bytes: int
    disagreements: tuple[str, ...]

    @property
    def bits_per_weight(self) -> float:
        """Of the whole model: every byte of its weights' files, over all weights."""
        return 8 * self.bytes / sum(layer.weights for layer in self.layers)

    @property
    def stored(self) -> dict[str, float]:
        """The share of all weights that each kind of storage holds, largest first."""
        count: Counter[str] = Counter()
        for layer in self.layers:
            count[f"{layer.kind}, {layer.bits:g} bits"] += layer.weights
        whole = sum(count.values())
        return {kind: weights / whole for kind, weights in count.most_common()}


def look_inside(path: str | os.PathLike[str], name: str | None = None) -> Folder:
    """Compare what a model's name, configuration and tensors say.

    Args:
        path: a folder with ``config.json`` and safetensors, or a GGUF file.
        name: what the model is called where that isn't the path's last part.

    Raises:
        ValueError: a configuration that isn't understood.
        OSError: nothing there, or damaged files.
    """
    place = Path(path).expanduser()
    claim = read_name(name or place.name)
    if place.suffix == ".gguf":
        layers = gguf_layers(place)
        return Folder(
            claim, None, tuple(layers), place.stat().st_size, tuple(_about_name(claim, layers))
        )
    inside = read_config(_config(place))
    files = sorted(place.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"path={str(path)!r} holds no safetensors; name another folder")
    layers = stored_layers(files)
    size = sum(file.stat().st_size for file in files)
    disagreements = (*_about_name(claim, layers), *_about_config(inside, layers))
    return Folder(claim, inside, tuple(layers), size, disagreements)


def _config(folder: Path) -> dict[str, object]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        for old in OLD_SETTINGS:
            if "quantization_config" not in config and (folder / old).is_file():
                settings = json.loads((folder / old).read_text(encoding="utf-8"))
                method = "awq" if "w_bit" in settings else "gptq"
                config["quantization_config"] = {"quant_method": method, **settings}
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"path={str(folder)!r} has no config.json; name a model's folder"
        ) from error
    except (ValueError, TypeError) as error:
        raise OSError(f"{path} is damaged ({first_line(error)}); fetch it again") from error
    return dict(config)


def _quantized(layers: list[StoredLayer]) -> list[StoredLayer]:
    return [layer for layer in layers if layer.quantized]


def _share(some: list[StoredLayer], layers: list[StoredLayer]) -> str:
    """Such as ``"21% of the weights (Q8_0) are"``."""
    share = sum(layer.weights for layer in some) / sum(layer.weights for layer in layers)
    return f"{share:.0%} of the weights ({', '.join(sorted({one.kind for one in some}))}) are"


def _about_name(claim: NameClaim, layers: list[StoredLayer]) -> list[str]:
    """Where the name says otherwise than the tensors."""
    found = _quantized(layers)
    if not found:
        claimed = bool(claim.method or any(bits < 16 for bits in claim.bits))
        return ["The name claims codes; the tensors are floats."] if claimed else []
    told = []
    if not claim.method and not claim.bits:
        told.append("The name does not say that weights are quantized; the tensors are.")
    for bits in claim.bits:
        # A type of GGUF counts its scales in: Q4_1 takes 5 bits a weight.
        other = [layer for layer in found if not bits <= layer.bits <= bits + 1]
        if other:
            told.append(f"The name says {bits:g} bits; {_share(other, layers)} of another width.")
    floats = [layer for layer in layers if not layer.quantized]
    if sum(layer.weights for layer in floats) > KEPT_FLOATS * sum(one.weights for one in layers):
        told.append(f"The name speaks of codes; {_share(floats, layers)} floats.")
    return told


def _about_config(inside: Inside, layers: list[StoredLayer]) -> list[str]:
    """Where the configuration says otherwise than the tensors."""
    found = _quantized(layers)
    if inside.method == "none":
        return ["config.json names no quantization; the tensors are codes."] if found else []
    if not found:
        return [f"config.json says {inside.method}; the tensors are floats."]
    told = []
    kinds = sorted({layer.kind for layer in found})
    known = {"gptq", "awq", "compressed-tensors", "bitsandbytes"}
    if inside.method in known and inside.method not in kinds and known & {*kinds}:
        told.append(f"config.json says {inside.method}; the tensors are laid out as {kinds[0]}.")
    widths = sorted({layer.bits for layer in found})
    if inside.bits and widths != [inside.bits]:
        listed = ", ".join(f"{width:g}" for width in widths)
        told.append(f"config.json says {inside.bits:g} bits; the tensors have {listed}.")
    head = [layer for layer in layers if layer.name.endswith("lm_head")]
    if head and inside.head_quantized is not None and head[0].quantized != inside.head_quantized:
        told.append(
            f"config.json says that the output head is {'' if inside.head_quantized else 'not '}"
            f"quantized; its tensor is {head[0].kind}."
        )
    return told

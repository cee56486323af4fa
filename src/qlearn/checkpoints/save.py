"""save_quantized: a quantized model as a folder that transformers, vLLM or llama.cpp loads.

All that can be refused is refused before anything is written, and the folder appears whole or not
at all: it is made under a temporary name and renamed.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from qlearn.checkpoints.awq import Awq
from qlearn.checkpoints.bitsandbytes_layout import Bitsandbytes
from qlearn.checkpoints.compressed_tensors import Compressed
from qlearn.checkpoints.gguf.save import GGUF_FILE, Gguf
from qlearn.checkpoints.gptq import Gptq
from qlearn.checkpoints.layout import Format, Layout
from qlearn.checkpoints.safetensors_layout import WEIGHTS, Safetensors
from qlearn.models.blocks import find_blocks
from qlearn.models.layers.base import CodesLinear
from qlearn.models.layers.int8 import Int8Linear

__all__ = ["FORMATS", "LAYOUTS", "WEIGHTS", "save_quantized"]

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LAYOUTS: tuple[Layout, ...] = (Gptq("gptq"), Gptq("gptq_v2"), Awq(), Compressed(), Bitsandbytes())
LAYOUTS = {layout.name: layout for layout in _LAYOUTS}
_FORMATS: tuple[Format, ...] = (*map(Safetensors, _LAYOUTS), Gguf())
FORMATS = {known.name: known for known in _FORMATS}


def save_quantized(
    model: nn.Module,
    folder: str | os.PathLike[str],
    format: str = "gptq",
    tokenizer: PreTrainedTokenizerBase | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a quantized model to ``folder``: one file of weights, and what its loaders ask for.

    Args:
        model: a causal language model of transformers, quantized with
            :func:`qlearn.convert.model.quantize_model`.
        folder: where to; what is missing of its path is made.
        format: ``"gptq"`` (version 1, the most widely read), ``"gptq_v2"`` (which also holds
            zero-points of 0), ``"awq"`` or ``"compressed-tensors"`` for uniform grids;
            ``"bitsandbytes"`` for NF4 and FP4; ``"gguf"`` for Llamas with groups of 32, as one
            file ``model.gguf`` that holds the configuration too.
        tokenizer: is saved beside the model where it is given; for ``"gguf"`` in its file.
        overwrite: replace a folder that holds a model.

    Returns:
        The folder.

    Raises:
        ValueError: an unknown format, a model that is not quantized or not one of transformers,
            layers, a scheme or a tokenizer that the format or its loaders do not hold.
        OSError: a folder that is not empty, or can't be written.
    """
    if format not in FORMATS:
        raise ValueError(
            f"format={format!r} is not known; choose {', '.join(map(repr, list(FORMATS)))}"
        )
    writer = FORMATS[format]
    layers = _quantized_layers(model)
    _check_place(model, layers)
    writer.check_model(model, layers, tokenizer)
    _check_linear(model, layers)
    for name, layer in layers.items():
        if not isinstance(layer, writer.layer):
            fitting = [known.name for known in FORMATS.values() if isinstance(layer, known.layer)]
            raise ValueError(
                f"layer {name!r} is {layer.scheme}, a {type(layer).__name__}, which "
                f"format={format!r} does not hold; choose {' or '.join(map(repr, fitting))}"
            )
        writer.check(name, layer)
    target = Path(folder).expanduser()
    _check_target(target, overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{target.name}-", dir=target.parent, ignore_cleanup_errors=True
    ) as temporary:
        made = Path(temporary) / "new"
        made.mkdir()
        writer.write(model, layers, tokenizer, made)
        if target.exists():  # a rename on top of it would fail on Windows
            target.rename(Path(temporary) / "old")
        made.rename(target)
    return target


def _quantized_layers(model: nn.Module) -> dict[str, CodesLinear]:
    """The quantized layers by name; one that stands in two places under both."""
    if not hasattr(model, "config") or not hasattr(model, "all_tied_weights_keys"):
        raise ValueError(
            f"model={type(model).__name__} is not a model of transformers; "
            "pass one such as load_model returns"
        )
    layers = {
        name: module
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, CodesLinear)
    }
    if not layers:
        raise ValueError(
            f"model={type(model).__name__} holds no quantized layer; call quantize_model first, "
            "or save the floats with model.save_pretrained(folder)"
        )
    return layers


def _check_place(model: nn.Module, layers: dict[str, CodesLinear]) -> None:
    """Raise a ValueError for a layer that no format holds, or where no loader looks for it."""
    blocks, _ = find_blocks(model)
    for name, layer in layers.items():
        if isinstance(layer, Int8Linear):
            raise ValueError(
                f"layer {name!r} rounds its inputs too, which no format here holds; "
                "keep model.state_dict(), or quantize the weights alone with method='rtn'"
            )
        if not name.startswith(f"{blocks}."):
            raise ValueError(
                f"layer {name!r} is quantized but lies outside the transformer blocks ({blocks}), "
                "where no loader looks for it; leave it as it is"
            )


def _check_linear(model: nn.Module, layers: dict[str, CodesLinear]) -> None:
    """Raise a ValueError for a layer that was not an ``nn.Linear``: loaders replace no others."""
    with torch.device("meta"):
        floats = type(model)(model.config)
    for name in layers:
        module = floats.get_submodule(name)
        if not isinstance(module, nn.Linear):
            raise ValueError(
                f"layer {name!r} was a {type(module).__name__}, which no loader of these formats "
                "replaces; choose a model of nn.Linear layers, such as a Llama"
            )


def _check_target(target: Path, overwrite: bool) -> None:
    """Raise an OSError for a place that must not be written to."""
    if not target.exists():
        return
    if not target.is_dir():
        raise FileExistsError(f"folder={str(target)!r} is a file; choose another name")
    if not any(target.iterdir()):
        return
    if not overwrite:
        raise FileExistsError(
            f"folder={str(target)!r} is not empty; choose another, or pass overwrite=True"
        )
    if not any((target / name).is_file() for name in ("config.json", GGUF_FILE)):
        raise FileExistsError(
            f"folder={str(target)!r} holds something else than a model (no config.json and no "
            f"{GGUF_FILE}), which overwrite=True would delete; choose another, or empty it yourself"
        )

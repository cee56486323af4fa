"""save_quantized: a quantized model as a folder that transformers, vLLM and their like load.

All that can be refused is refused before anything is written, and the folder appears whole or not
at all: it is made under a temporary name and renamed.
"""

from __future__ import annotations

import copy
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from qlearn.blocks import find_blocks, is_linear
from qlearn.export_awq import Awq
from qlearn.export_bitsandbytes import Bitsandbytes
from qlearn.export_compressed import Compressed
from qlearn.export_gptq import Gptq
from qlearn.export_layout import Contents, Layout
from qlearn.layer_base import CodesLinear

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LAYOUTS: tuple[Layout, ...] = (Gptq("gptq"), Gptq("gptq_v2"), Awq(), Compressed(), Bitsandbytes())
LAYOUTS = {layout.name: layout for layout in _LAYOUTS}
WEIGHTS = "model.safetensors"


def save_quantized(
    model: nn.Module,
    folder: str | os.PathLike[str],
    format: str = "gptq",
    tokenizer: PreTrainedTokenizerBase | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a quantized model to ``folder``: one safetensors file and its configurations.

    Args:
        model: a causal language model of transformers, quantized with
            :func:`qlearn.convert.quantize_model`.
        folder: where to; what is missing of its path is made.
        format: ``"gptq"`` (version 1, the most widely read), ``"gptq_v2"`` (which also holds
            zero-points of 0), ``"awq"`` or ``"compressed-tensors"`` for uniform grids;
            ``"bitsandbytes"`` for NF4 and FP4.
        tokenizer: is saved beside the model where it is given.
        overwrite: replace a folder that holds a model.

    Returns:
        The folder.

    Raises:
        ValueError: an unknown format, a model that is not quantized or not one of transformers,
            layers or a scheme that the format or its loaders do not hold.
        OSError: a folder that is not empty, or can't be written.
    """
    if format not in LAYOUTS:
        raise ValueError(
            f"format={format!r} is not known; choose {', '.join(map(repr, list(LAYOUTS)))}"
        )
    layout = LAYOUTS[format]
    layers = _quantized_layers(model)
    contents = _contents(model, layers)
    _check_linear(model, layers)
    for name, layer in layers.items():
        if not isinstance(layer, layout.layer):
            fitting = [known.name for known in _LAYOUTS if isinstance(layer, known.layer)]
            raise ValueError(
                f"layer {name!r} is {layer.scheme}, a {type(layer).__name__}, which "
                f"format={format!r} does not hold; choose {' or '.join(map(repr, fitting))}"
            )
        layout.check(name, layer)
    target = Path(folder).expanduser()
    _check_target(target, overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{target.name}-", dir=target.parent, ignore_cleanup_errors=True
    ) as temporary:
        made = Path(temporary) / "new"
        made.mkdir()
        _write(model, made, layers, layout, contents)
        if tokenizer is not None:
            tokenizer.save_pretrained(made)
        if target.exists():  # a rename on top of it would fail on Windows
            target.rename(Path(temporary) / "old")
        made.rename(target)
    return target


def _write(
    model: Any,
    folder: Path,
    layers: dict[str, CodesLinear],
    layout: Layout,
    contents: Contents,
) -> None:
    """Write configuration, generation configuration and weights."""
    from safetensors.torch import save_file

    config = copy.deepcopy(model.config)
    config.quantization_config = layout.config(contents)
    config.architectures = [type(model).__name__]
    config.dtype = model.dtype
    config.save_pretrained(folder)
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.save_pretrained(folder)
    tensors = _float_tensors(model, layers)
    for name, layer in layers.items():
        for part, tensor in layout.tensors(layer).items():
            tensors[f"{name}.{part}"] = tensor
    # No loader asks for the convention that fitted the grid: it is for load_quantized.
    convention = getattr(contents.scheme, "convention", None)
    metadata = {"format": "pt"} | ({"convention": convention} if convention else {})
    save_file(tensors, folder / WEIGHTS, metadata)


def _float_tensors(model: nn.Module, layers: dict[str, CodesLinear]) -> dict[str, Tensor]:
    """All that is stored as floats: embeddings, norms, biases, layers that were left out.

    A tied tensor is stored once, under the name of the one that it is tied to.
    """
    state = model.state_dict()
    tied: dict[str, str] = getattr(model, "all_tied_weights_keys", {})
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in state.items():
        owner, _, part = name.rpartition(".")
        if owner in layers and part != "bias":
            continue
        source = state.get(tied.get(name, ""))
        if source is not None and source.data_ptr() == tensor.data_ptr():
            continue
        # safetensors refuses tensors that share memory.
        shared = tensor.data_ptr() in seen
        found[name] = tensor.clone() if shared else tensor.contiguous()
        seen.add(tensor.data_ptr())
    return found


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


def _contents(model: nn.Module, layers: dict[str, CodesLinear]) -> Contents:
    """What the configuration has to say, for layers that it can say it of."""
    blocks, _ = find_blocks(model)
    scheme = next(iter(layers.values())).scheme
    for name, layer in layers.items():
        if not name.startswith(f"{blocks}."):
            raise ValueError(
                f"layer {name!r} is quantized but lies outside the transformer blocks ({blocks}), "
                "where no loader looks for it; leave it as it is"
            )
        if layer.scheme != scheme:
            raise ValueError(
                f"layer {name!r} has scheme={layer.scheme}, others {scheme}; a folder holds one: "
                "quantize all layers alike, or leave some out with skip="
            )
    modules = model.named_modules(remove_duplicate=False)
    kept = [name for name, module in modules if is_linear(module)]
    dtype = str(next(iter(layers.values())).dtype).removeprefix("torch.")
    return Contents(scheme, dtype, tuple(layers), tuple(kept), blocks)


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
    if not (target / "config.json").is_file():
        raise FileExistsError(
            f"folder={str(target)!r} holds something else than a model (no config.json), which "
            "overwrite=True would delete; choose another, or empty it yourself"
        )

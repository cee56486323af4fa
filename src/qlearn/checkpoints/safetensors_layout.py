"""The formats that are a safetensors file and a ``config.json``: what their layouts share."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from qlearn.checkpoints.layout import Contents, Layout
from qlearn.models.blocks import find_blocks, is_linear
from qlearn.models.layers.base import CodesLinear

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Safetensors:
    """The format of a layout: its tensors in one file, and the configurations beside it."""

    layout: Layout

    @property
    def name(self) -> str:
        """What ``save_quantized`` calls it."""
        return self.layout.name

    @property
    def layer(self) -> type[CodesLinear]:
        """The kind of layer that it holds."""
        return self.layout.layer

    def check_model(
        self,
        model: Any,  # noqa: ARG002
        layers: Mapping[str, CodesLinear],
        tokenizer: PreTrainedTokenizerBase | None,  # noqa: ARG002
    ) -> None:
        """Raise a ValueError for layers of different schemes: the configuration names one."""
        scheme = next(iter(layers.values())).scheme
        for name, layer in layers.items():
            if layer.scheme != scheme:
                raise ValueError(
                    f"layer {name!r} has scheme={layer.scheme}, others {scheme}; a folder holds "
                    "one: quantize all layers alike, or leave some out with skip="
                )

    def check(self, name: str, layer: CodesLinear) -> None:
        """Raise a ValueError where the layout, or its loader, can't hold the layer."""
        self.layout.check(name, layer)

    def write(
        self,
        model: Any,
        layers: Mapping[str, CodesLinear],
        tokenizer: PreTrainedTokenizerBase | None,
        folder: Path,
    ) -> None:
        """Write configuration, generation configuration, weights and tokenizer."""
        from safetensors.torch import save_file

        contents = _contents(model, layers)
        config = copy.deepcopy(model.config)
        config.quantization_config = self.layout.config(contents)
        config.architectures = [type(model).__name__]
        config.dtype = model.dtype
        config.save_pretrained(folder)
        if getattr(model, "generation_config", None) is not None:
            model.generation_config.save_pretrained(folder)
        tensors = float_tensors(model, layers)
        for name, layer in layers.items():
            for part, tensor in self.layout.tensors(layer).items():
                tensors[f"{name}.{part}"] = tensor
        # No loader asks for the convention that fitted the grid: it is for load_quantized.
        convention = getattr(contents.scheme, "convention", None)
        metadata = {"format": "pt"} | ({"convention": convention} if convention else {})
        save_file(tensors, folder / WEIGHTS, metadata)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)


def float_tensors(model: nn.Module, layers: Mapping[str, CodesLinear]) -> dict[str, Tensor]:
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


def _contents(model: nn.Module, layers: Mapping[str, CodesLinear]) -> Contents:
    """What the configuration has to say."""
    first = next(iter(layers.values()))
    modules = model.named_modules(remove_duplicate=False)
    kept = tuple(name for name, module in modules if is_linear(module))
    dtype = str(first.dtype).removeprefix("torch.")
    return Contents(first.scheme, dtype, tuple(layers), kept, find_blocks(model)[0])

"""Adapters on disk, in peft's own layout, so that peft reads ours and we read peft's.

A folder holds ``adapter_config.json`` and ``adapter_model.safetensors``: two small matrices a
layer. The base model is not in it; its name is.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from qlearn.methods.lora import LoRALinear, add_lora, lora_layers

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."  # peft wraps the model twice
_PLAIN: dict[str, Any] = {  # what this package does not do must be off in a file that it reads
    "peft_type": "LORA",
    "bias": "none",
    "fan_in_fan_out": False,
    "use_rslora": False,
    "use_dora": False,
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
}


def save_adapters(model: nn.Module, folder: str | os.PathLike[str], base: str = "") -> Path:
    """Write the adapters of a model, so that ``peft.PeftModel.from_pretrained`` loads them.

    Args:
        model: one that :func:`qlearn.methods.lora.add_lora` has given adapters.
        folder: where to; it is made if missing, and the two files in it are replaced.
        base: name or folder of the base model, for the configuration.

    Raises:
        ValueError: for a model without adapters.
        OSError: for a folder that can't be written.
    """
    from safetensors.torch import save_file

    layers = lora_layers(model)
    first = next(iter(layers.values()))
    tensors = {
        f"{_PREFIX}{name}.{part}.weight": getattr(layer, part).detach().contiguous()
        for name, layer in layers.items()
        for part in ("lora_A", "lora_B")
    }
    config = {
        **_PLAIN,
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base or None,
        "r": first.rank,
        "lora_alpha": first.alpha,
        "lora_dropout": 0.0,
        # Full names: the ends of them might name more layers than have an adapter.
        "target_modules": sorted(layers),
        "inference_mode": True,
    }
    target = Path(folder).expanduser()
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target) as temporary:
        made = Path(temporary)
        save_file(tensors, made / WEIGHTS, {"format": "pt"})
        (made / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        for file in (WEIGHTS, CONFIG):
            (made / file).replace(target / file)
    return target


def load_adapters(model: nn.Module, folder: str | os.PathLike[str]) -> dict[str, LoRALinear]:
    """Give a model without adapters those of a folder, written here or by peft.

    Returns:
        The new layers by name, frozen no more than those of a fresh :func:`add_lora`.

    Raises:
        ValueError: for adapters that are no plain LoRA, or of another model.
        OSError: for a folder without the two files, or with damaged ones.
    """
    config, tensors = _read(Path(folder).expanduser())
    for key, plain in _PLAIN.items():
        if (config.get(key, plain) or plain) != plain:
            raise ValueError(
                f"{CONFIG} has {key}={config[key]!r}, which is not read here; "
                "load it with peft.PeftModel.from_pretrained"
            )
    names = sorted({key.rpartition(".lora_")[0].removeprefix(_PREFIX) for key in tensors})
    modules = dict(model.named_modules())
    for name in names:
        a, b = (tensors.get(f"{_PREFIX}{name}.lora_{part}.weight") for part in "AB")
        sizes = [getattr(modules.get(name), f"{side}_features", None) for side in ("in", "out")]
        if a is None or b is None or [a.shape[-1], b.shape[0]] != sizes:
            raise ValueError(
                f"the adapter of {name!r} does not fit model={type(model).__name__}; "
                f"load the base model that it was made for: {config.get('base_model_name_or_path')}"
            )
    layers = add_lora(model, config["r"], config["lora_alpha"], names)
    for name, layer in layers.items():
        for part in ("lora_A", "lora_B"):
            getattr(layer, part).data.copy_(tensors[f"{_PREFIX}{name}.{part}.weight"])
    return layers


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for file in (CONFIG, WEIGHTS):
        if not (folder / file).is_file():
            raise FileNotFoundError(
                f"folder={str(folder)!r} holds no {file}; name one that save_adapters or "
                "peft's save_pretrained wrote"
            )
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return dict(config), load_file(folder / WEIGHTS)
    except (ValueError, TypeError, SafetensorError) as error:
        raise OSError(f"{folder} is damaged ({error}); save the adapters again") from error

"""What a model's ``config.json`` says of its weights, in fields and in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qlearn.checkpoints.inside import packed, rounded
from qlearn.checkpoints.inside.fields import PACKAGES, Inside

__all__ = ["PACKAGES", "READERS", "Inside", "read_config"]

READERS = {**packed.READERS, **rounded.READERS}


def read_config(config: Mapping[str, Any]) -> Inside:
    """Say what is inside a checkpoint.

    Args:
        config: ``config.json`` as a mapping, or its ``quantization_config`` alone. Of a model with
            several parts, the text model's is looked for too.

    Raises:
        ValueError: something else, a method that isn't known here, or settings without sense.

    >>> read_config({"quant_method": "gptq", "bits": 4, "group_size": 128}).sentence
    'gptq: INT4, groups of 128, symmetric, 4.16 bits a weight, output head in floats, \
transformers asks for gptqmodel and optimum.'
    """
    if not isinstance(config, Mapping):
        raise ValueError(
            f"config={config!r:.60} is not a mapping; pass json.loads of a model's config.json"
        )
    text = config.get("text_config")
    text = text if isinstance(text, Mapping) else {}
    dtype = str(config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or "")
    found = config.get("quantization_config") or text.get("quantization_config")
    if found is None and _is_settings(config):
        found = config
    if found is None:
        if not {"model_type", "architectures", "dtype", "torch_dtype"} & {*config}:
            raise ValueError(
                f"config with the keys {sorted(config)[:4]} is no model's configuration; "
                "pass json.loads of its config.json"
            )
        return Inside(method="none", kind="float", head_quantized=False, dtype=dtype)
    if not isinstance(found, Mapping):
        raise ValueError(
            f"quantization_config={found!r:.60} is not a mapping; fetch config.json again"
        )
    method = _method(found)
    inside = READERS[method]({**found, "quant_method": method})
    return replace(inside, dtype=dtype)


def _is_settings(config: Mapping[str, Any]) -> bool:
    return bool({"quant_method", "load_in_4bit", "load_in_8bit"} & {*config})


def _method(settings: Mapping[str, Any]) -> str:
    """The method's name; files of bitsandbytes' first versions have none."""
    if settings.get("load_in_4bit") or settings.get("load_in_8bit"):
        return "bitsandbytes"
    method = settings.get("quant_method")
    name = str(getattr(method, "value", method)).lower()
    if name not in READERS:
        raise ValueError(
            f"quant_method={method!r} is not known here; those that are: {', '.join(READERS)}"
        )
    return name

"""The catalogue of models, and any other model's sizes.

``architectures.json`` holds published configurations, shortened to what has a size; each entry has
its source. The pocket models' are read where their weights lie.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qlearn.measure.memory.families import FAMILIES, from_config, from_mapping
from qlearn.measure.memory.sizes import Architecture
from qlearn.models.packaged import POCKET, POCKET_FOLDER

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["CATALOGUE", "FAMILIES", "MODELS", "Architecture", "get_architecture"]

CATALOGUE = Path(__file__).with_name("architectures.json")


def _catalogue() -> dict[str, Architecture]:
    """Each model of the file in its order, then the pocket family."""
    entries = json.loads(CATALOGUE.read_text(encoding="utf-8"))
    models = {
        name: from_mapping(entry["config"], name, entry["title"], entry["source"])
        for name, entry in entries.items()
    }
    for name in POCKET:
        text = (POCKET_FOLDER / name / "config.json").read_text(encoding="utf-8")
        source = f"this package: pocket/{name}/config.json"
        models[name] = from_mapping(json.loads(text), name, name, source)
    return models


MODELS: Mapping[str, Architecture] = MappingProxyType(_catalogue())


def get_architecture(model: str | Architecture | PreTrainedConfig) -> Architecture:
    """Give a model's sizes.

    Args:
        model: a name in :data:`MODELS` or a title (``"llama-2-7b"``, ``"Llama 2 7B"``), sizes of
            your own, or any transformers configuration. Where a configuration's family has no
            formula here, its model is built without memory and counted.

    Raises:
        ValueError: an unknown name, something else, or a model that can't be counted.

    >>> get_architecture("Llama 2 7B").parameters
    6738415616
    """
    if isinstance(model, Architecture):
        return model
    if isinstance(model, str):
        return _by_name(model)
    config: Any = getattr(model, "config", model)  # a model will do as well
    if not hasattr(config, "get_text_config"):
        raise ValueError(
            f"model={model!r:.60} is no model's sizes; pass a name such as 'llama-2-7b', "
            "an Architecture or a transformers configuration"
        )
    return from_config(config)


def _by_name(name: str) -> Architecture:
    plain = re.sub(r"[\s_]+", "-", name.strip().lower())
    if plain not in MODELS:
        near = get_close_matches(plain, MODELS, n=3, cutoff=0.3) or list(MODELS)[:3]
        raise ValueError(
            f"model={name!r} is not in the catalogue; its nearest are {', '.join(map(repr, near))} "
            f"(all {len(MODELS)}: list(qlearn.measure.memory.MODELS)), or pass an Architecture or "
            "a transformers configuration"
        )
    return MODELS[plain]

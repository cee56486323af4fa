"""load_quantized: what save_quantized and other tools write, back into quantized layers.

Codes, scales and zero-points come back bit for bit, so that one can look inside. Only safetensors
and GGUF are read, and no code that comes with a model is run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from qlearn import needs
from qlearn.checkpoints.assemble import assemble, check_grid, float_weight, placeholder
from qlearn.checkpoints.gguf.load import load_gguf
from qlearn.checkpoints.layout import Layout
from qlearn.checkpoints.save import LAYOUTS
from qlearn.models.local_files import check_config, check_memory, first_line, stored_parameters
from qlearn.numerics.affine import QuantizedTensor
from qlearn.numerics.codebook import BlockwiseTensor, CodebookScheme
from qlearn.numerics.scheme import CONVENTIONS, QuantScheme

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

Scheme = QuantScheme | CodebookScheme


def load_quantized(folder: str | os.PathLike[str]) -> PreTrainedModel:
    """Read a folder that :func:`qlearn.checkpoints.save.save_quantized`, or another tool, wrote.

    Args:
        folder: holds ``config.json`` with a ``quantization_config``, and safetensors; or one GGUF
            file and no safetensors. A GGUF file can be named itself.

    Returns:
        The model in evaluation mode, on the CPU, its quantized layers
        :class:`~qlearn.models.layers.affine.QuantizedLinear` or
        :class:`~qlearn.models.layers.codebook.CodebookLinear`, the rest in the dtype that it is
        stored in.

    Raises:
        ValueError: a folder that is not quantized, in a format or with groups not known here.
        OSError: nothing there, a damaged or incomplete file, pickles instead of safetensors.
    """
    path = Path(folder).expanduser()
    gguf = _gguf_file(path)
    if gguf is not None:
        return load_gguf(gguf)
    if not path.is_dir():
        raise FileNotFoundError(f"folder={str(folder)!r} does not exist; name one that does")
    check_config(path)
    settings = _quantization_config(path)
    layout = _layout(settings, path)
    scheme = _scheme(layout, settings, path)
    check_memory(path, 4 * stored_parameters(path))
    tensors, metadata = _read_tensors(path)
    convention = metadata.get("convention", "")
    if isinstance(scheme, QuantScheme) and CONVENTIONS.get(convention) is scheme.symmetric:
        scheme = replace(scheme, convention=convention)
    return _assemble(path, layout, scheme, tensors)


def _gguf_file(path: Path) -> Path | None:
    """The GGUF file to read, where there is one and nothing else."""
    if path.suffix == ".gguf" and path.is_file():
        return path
    found = sorted(path.glob("*.gguf")) if path.is_dir() else []
    if not found or any(path.glob("*.safetensors")):
        return None
    if len(found) > 1:
        raise ValueError(f"folder={str(path)!r} holds {len(found)} GGUF files; name one of them")
    return found[0]


def _assemble(
    path: Path, layout: Layout, scheme: Scheme, tensors: dict[str, Tensor]
) -> PreTrainedModel:
    """Build the model around its quantized layers."""
    config, kind = _model_class(path)
    with torch.device("meta"):
        floats = kind(config)
    dtype = config.dtype if isinstance(config.dtype, torch.dtype) else torch.float32
    layers: dict[str, QuantizedTensor | BlockwiseTensor] = {}
    mark = f".{layout.mark}"
    for name in [key.removesuffix(mark) for key in tensors if key.endswith(mark)]:
        weight = float_weight(floats, name, path)
        parts = {}
        for part in layout.tensor_names(scheme):
            if f"{name}.{part}" not in tensors:
                raise OSError(f"{path} lacks {name}.{part}; fetch its files again")
            parts[part] = tensors.pop(f"{name}.{part}")
        layers[name] = _read_layer(layout, parts, weight, scheme, f"{path}, layer {name!r}", dtype)
        tensors[f"{name}.weight"] = placeholder(floats, name, dtype)
    if not layers:
        raise OSError(f"{path} holds no quantized layer in format={layout.name!r}")
    model = assemble(path, kind, config, tensors, layers, dtype)
    _add_generation_config(model, path)
    return model


def _read_layer(
    layout: Layout,
    parts: Mapping[str, Tensor],
    weight: Tensor,
    scheme: Scheme,
    where: str,
    dtype: torch.dtype,
) -> QuantizedTensor | BlockwiseTensor:
    """One layer, or an OSError that says where the damage is."""
    try:
        quantized = layout.read(parts, (weight.shape[0], weight.shape[1]), scheme)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    check_grid(quantized, where)
    return replace(quantized, dtype=dtype)


def _quantization_config(path: Path) -> dict[str, Any]:
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    settings = config.get("quantization_config")
    if not isinstance(settings, dict):
        raise ValueError(
            f"folder={str(path)!r} is not quantized (no quantization_config in config.json); "
            "load it with load_model"
        )
    return settings


def _layout(settings: Mapping[str, Any], path: Path) -> Layout:
    method = settings.get("quant_method")
    name = settings.get("checkpoint_format", method) if method == "gptq" else method
    if name not in LAYOUTS:
        raise ValueError(
            f"folder={str(path)!r} is in the format {name!r}; "
            f"those read here are {', '.join(map(repr, list(LAYOUTS)))}"
        )
    return LAYOUTS[str(name)]


def _scheme(layout: Layout, settings: Mapping[str, Any], path: Path) -> Scheme:
    try:
        return layout.read_scheme(settings)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise OSError(
            f"{path / 'config.json'} is damaged: its quantization_config does not say what it "
            f"must ({first_line(error)}); fetch it again"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path / 'config.json'}: {error}") from error


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a folder whose files are known to be whole, and what their headers say."""
    from safetensors import safe_open

    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            metadata.update(opened.metadata() or {})
            # A safetensors file is no dict: it can't be iterated over.
            for name in opened.keys():  # noqa: SIM118
                tensors[name] = opened.get_tensor(name)
    return tensors, metadata


def _model_class(path: Path) -> tuple[PretrainedConfig, Any]:
    """The configuration without its mark of quantization, and the class that it is for."""
    with needs("course"):
        from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    del config.quantization_config
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(
            f"folder={str(path)!r} holds a {config.model_type!r}, which is no causal language "
            "model; choose one that is, such as a Llama"
        )
    return config, MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]


def _add_generation_config(model: Any, path: Path) -> None:
    if (path / "generation_config.json").is_file():
        with needs("course"):
            from transformers import GenerationConfig

        model.generation_config = GenerationConfig.from_pretrained(path, local_files_only=True)

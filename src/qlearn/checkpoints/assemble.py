"""Builds a model of transformers around quantized layers that were read from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from qlearn.models.blocks import is_linear, set_module, weight_of
from qlearn.models.layers.affine import QuantizedLinear
from qlearn.models.layers.codebook import CodebookLinear
from qlearn.models.load import quiet
from qlearn.models.local_files import first_line
from qlearn.numerics.affine import QuantizedTensor
from qlearn.numerics.codebook import BlockwiseTensor

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


def assemble(
    path: Path,
    kind: Any,
    config: PretrainedConfig,
    tensors: dict[str, Tensor],
    layers: Mapping[str, QuantizedTensor | BlockwiseTensor],
    dtype: torch.dtype,
) -> PreTrainedModel:
    """Build the model, in evaluation mode.

    Args:
        path: where the files are, for messages.
        kind: the class of the model.
        config: what it is built from.
        tensors: its floats by name; those of quantized layers are placeholders.
        layers: the quantized weights by the layer's name.
        dtype: of the floats.

    Raises:
        OSError: for tensors that are missing or do not fit.
    """
    try:
        with quiet():
            model, report = kind.from_pretrained(
                None, config=config, state_dict=tensors, dtype=dtype, output_loading_info=True
            )
    except (RuntimeError, ValueError) as error:
        raise OSError(f"{path} can't be loaded: {first_line(error)}") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise OSError(
            f"{path} lacks {len(missing)} of the model's weights ({missing[0]}, ...); "
            "fetch its files again"
        )
    for name, quantized in layers.items():
        bias = getattr(model.get_submodule(name), "bias", None)
        if isinstance(quantized, BlockwiseTensor):
            set_module(model, name, CodebookLinear(quantized, bias))
        else:
            layer = QuantizedLinear(quantized, bias)
            layer.scale = quantized.scale.contiguous()  # as stored, where it would be rounded
            set_module(model, name, layer)
    return model.eval()


def placeholder(floats: nn.Module, name: str, dtype: torch.dtype) -> Tensor:
    """One zero in the place of all weights of a layer, whose float module is replaced later."""
    stored = floats.get_submodule(name).weight
    assert isinstance(stored, Tensor)
    return torch.zeros((), dtype=dtype).expand(stored.shape)


def float_weight(floats: nn.Module, name: str, path: Path) -> Tensor:
    """The place of a layer's float weight ``[out, in]``, without its values.

    Raises:
        OSError: where the model has no linear layer of that name.
    """
    try:
        module = floats.get_submodule(name)
    except AttributeError:
        module = None
    if module is None or not is_linear(module):
        raise OSError(f"{path} holds a quantized {name!r}, which the model has no linear layer for")
    return weight_of(module)


def check_grid(quantized: QuantizedTensor | BlockwiseTensor, where: str) -> None:
    """Raise an OSError for scales or zero-points that only a damaged file holds."""
    scales = quantized.absmax if isinstance(quantized, BlockwiseTensor) else quantized.scale
    if not bool(torch.isfinite(scales).all()):
        raise OSError(f"{where}: its scales hold NaN or infinite values; fetch the file again")
    if isinstance(quantized, BlockwiseTensor):
        return
    middle = quantized.scheme.levels // 2
    if quantized.scheme.symmetric and bool((quantized.zero_point != middle).any()):
        raise OSError(
            f"{where}: zero-points other than {middle} in a file that calls itself symmetric; "
            "fetch it again"
        )

"""AWQ: enlarge the columns that large inputs meet, so that rounding spares them.

A column of ``W`` times ``s`` and its input divided by ``s`` give the same output. Rounding ``W s``
instead of ``W`` leaves an error of about the same size in the codes, and so one that is ``s`` times
smaller where the large inputs are. ``s`` is a power of each input's mean magnitude, and the power
is found by trying. Then each group's range is shrunk as far as that lowers the error of its share
of the output.

Both searches need of the activations only ``mean|X|`` and ``X^T X``: the squared error of the
outputs is ``tr(E X^T X E^T)`` with ``E`` the weight's error.

Source: Lin et al. 2023 (arXiv 2306.00978), sections 3.2 and 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qlearn.numerics.affine import QuantizedTensor, fake_quantize, quantize
from qlearn.numerics.scheme import QuantScheme

RATIOS = 20  # powers tried: 0, 0.05, ... 0.95
CLIP_STEPS = 10
LEAST_SHARE = 0.55  # of a group's range, the smallest that is tried
_LEAST_SCALE = 1e-4


@dataclass(frozen=True)
class AwqResult:
    """What the search found for one layer.

    Attributes:
        scales: ``[in_features]``, what the weight's columns are multiplied by.
        ratio: the power of ``mean|X|`` that they are.
        share: what is kept of each group's range in ``weight * scales``, 0.55 to 1,
            ``[rows, groups]``; ``None`` where no clipping was asked for.
        loss: mean squared error of the layer's outputs, over tokens and outputs.
    """

    scales: Tensor
    ratio: float
    share: Tensor | None
    loss: float

    def quantize(self, weight: Tensor, scheme: QuantScheme) -> QuantizedTensor:
        """The codes of ``weight * scales``, clipped; the layer's input is then ``x / scales``."""
        scaled = weight * self.scales
        clipped = scaled if self.share is None else clip(scaled, self.share, scheme)
        return quantize(clipped, scheme)


def awq_search(
    weight: Tensor, activations: Tensor, scheme: QuantScheme, clipping: bool = True
) -> AwqResult:
    """Search the scales of a layer's inputs, and how far to clip its groups.

    Args:
        weight: floats ``[out_features, in_features]``.
        activations: the layer's inputs, floats ``[tokens, in_features]``.
        scheme: bits, symmetry, convention and group size.
        clipping: search the ranges too.

    Raises:
        ValueError: for weights or activations of a wrong shape or dtype, NaN or infinite values, or
            a group size that does not divide ``in_features``.

    >>> inputs = torch.tensor([[8.0, 1.0], [8.0, -1.0]])  # the first input is the salient one
    >>> found = awq_search(torch.tensor([[0.3, 1.0]]), inputs, QuantScheme(bits=2), clipping=False)
    >>> bool(found.scales[0] > found.scales[1])
    True
    """
    if activations.dim() != 2 or not activations.is_floating_point() or not len(activations):
        raise ValueError(
            f"activations has shape {tuple(activations.shape)} and dtype {activations.dtype}; "
            "pass floats [tokens, in_features]"
        )
    inputs = activations.float()
    moment = inputs.T @ inputs / len(inputs)
    scales, ratio, loss = search_scales(weight, inputs.abs().mean(0), moment, scheme)
    share = None
    if clipping:
        scaled = weight.detach().float() * scales
        inner = moment / scales / scales[:, None]
        share = search_clipping(scaled, inner, scheme)
        error = fake_quantize(clip(scaled, share, scheme), scheme) - scaled
        loss = output_error(error, inner)
    return AwqResult(scales, ratio, share, loss)


def channel_scales(mean: Tensor, ratio: float) -> Tensor:
    """``mean|X|`` to the power of ``ratio``, around 1: ``s / sqrt(max(s) min(s))``.

    >>> channel_scales(torch.tensor([1.0, 16.0]), ratio=0.5)
    tensor([0.5000, 2.0000])
    """
    scales = mean.pow(ratio).clamp(min=_LEAST_SCALE)
    return scales / (scales.max() * scales.min()).sqrt()


def search_scales(
    weight: Tensor, mean: Tensor, moment: Tensor, scheme: QuantScheme, ratios: int = RATIOS
) -> tuple[Tensor, float, float]:
    """The power of ``mean|X|`` that rounding with it leaves the least error in the outputs.

    Args:
        weight: floats ``[out_features, in_features]``.
        mean: ``mean|X|``, ``[in_features]``.
        moment: ``X^T X / tokens``, ``[in_features, in_features]``; a factor does not matter.
        scheme: bits, symmetry, convention and group size.
        ratios: powers to try, evenly from 0 (no scaling) to less than 1.

    Returns:
        The scales ``[in_features]``, their power, and the mean squared error of the outputs.

    Raises:
        ValueError: as :func:`awq_search`.
    """
    _check(weight, mean, moment)
    weight = weight.detach().float()
    best = torch.ones_like(mean), 0.0, float("inf")
    for step in range(ratios):
        scales = channel_scales(mean, step / ratios)
        loss = output_error(fake_quantize(weight * scales, scheme) / scales - weight, moment)
        if loss < best[2]:
            best = scales, step / ratios, loss
    return best


def search_clipping(weight: Tensor, moment: Tensor, scheme: QuantScheme) -> Tensor:
    """How much to keep of each group's range, by the error of the group's part of the output.

    Args:
        weight: the rescaled weight, ``[out_features, in_features]``.
        moment: ``X^T X / tokens`` of the rescaled inputs, ``[in_features, in_features]``.
        scheme: bits, symmetry, convention and group size.

    Returns:
        The share of the range, 1 down to 0.55, ``[rows, groups]`` as the scheme cuts the weight.
    """
    _check(weight, moment.diagonal(), moment)
    weight = weight.detach().float()
    rows, groups, _ = scheme.grid_shape(tuple(weight.shape))
    size = weight.shape[1] // groups
    # Only the blocks on the moment's diagonal: groups are looked at one by one.
    own = torch.stack([moment[i : i + size, i : i + size] for i in range(0, len(moment), size)])
    best = torch.full((rows, groups), float("inf"), device=weight.device)
    kept = torch.ones_like(best)
    for step in range(CLIP_STEPS + 1):
        share = torch.full_like(best, 1 - step * (1 - LEAST_SHARE) / CLIP_STEPS)
        error = fake_quantize(clip(weight, share, scheme), scheme) - weight
        grouped = error.unflatten(1, (groups, size)).transpose(0, 1)  # [groups, out, size]
        loss = (grouped @ own).mul_(grouped).sum(-1).T
        loss = loss.sum(0, keepdim=True) if rows == 1 else loss
        better = loss < best
        best = torch.where(better, loss, best)
        kept = torch.where(better, share, kept)
    return kept


def clip(weight: Tensor, share: Tensor, scheme: QuantScheme) -> Tensor:
    """Clamp each group to ``share`` ``[rows, groups]`` of its smallest and largest weight.

    >>> clip(torch.tensor([[-1.0, 0.5, 2.0]]), torch.tensor([[0.5]]), QuantScheme(bits=4))
    tensor([[-0.5000,  0.5000,  1.0000]])
    """
    groups = weight.reshape(scheme.grid_shape(tuple(weight.shape)))
    low, high = torch.aminmax(groups, dim=-1, keepdim=True)
    low, high = low * share[..., None], high * share[..., None]
    return torch.minimum(torch.maximum(groups, low), high).view(weight.shape)


def output_error(error: Tensor, moment: Tensor) -> float:
    """Mean squared error of the outputs, from the weight's error ``E``: ``tr(E M E^T) / out``."""
    return float(((error @ moment) * error).sum(dtype=torch.float64)) / len(error)


def _check(weight: Tensor, mean: Tensor, moment: Tensor) -> None:
    if weight.dim() != 2 or not weight.is_floating_point():
        raise ValueError(
            f"weight has shape {tuple(weight.shape)} and dtype {weight.dtype}; "
            "pass floats [out_features, in_features]"
        )
    width = weight.shape[1]
    if tuple(mean.shape) != (width,) or tuple(moment.shape) != (width, width):
        raise ValueError(
            f"activations are of {mean.numel()} features, weight of in_features={width}; "
            "pass the inputs of this layer"
        )
    if not bool(torch.isfinite(mean.sum() + moment.sum())):
        raise ValueError(
            "activations hold NaN or infinite values; look at the calibration text and at the "
            "layers before this one"
        )

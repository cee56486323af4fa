"""SmoothQuant: divide the inputs' loud columns down, and multiply the weights by as much.

Inputs are hard to round, since a few of their columns are huge; weights are easy. For any positive
``s``, one a column, ``(X / s)(s W^T)`` is the same product, so part of the difficulty can be handed
over before anything is rounded. ``alpha`` says how much: at 1 all columns of the inputs become
equally loud, at 0 all columns of the weights.

Source: Xiao et al. 2022 (arXiv 2211.10438), equation 4, and its authors' code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LEAST = 1e-5  # of a weight column's maximum, and of a scale


def smoothing_scales(
    input_absmax: Tensor, weights: Tensor | Sequence[Tensor], alpha: float = 0.5
) -> Tensor:
    """``s = max|X|^alpha / max|W|^(1 - alpha)``, one a column.

    Args:
        input_absmax: largest ``|x|`` of each column over the calibration text, ``[in_features]``.
        weights: ``[out_features, in_features]`` of the layer, or of all layers that share the
            input; their maximum counts.
        alpha: 0 to 1; 0.5 shares the difficulty evenly.

    Returns:
        Float32 ``[in_features]``, positive: inputs are divided by it, weight columns multiplied.

    Raises:
        ValueError: for another alpha, shapes that do not match, negative, NaN or infinite values.

    >>> smoothing_scales(torch.tensor([16.0, 1.0]), torch.tensor([[1.0, -1.0]]))
    tensor([4., 1.])
    """
    check_alpha(alpha)
    shared = [weights] if isinstance(weights, Tensor) else list(weights)
    width = input_absmax.numel()
    if not shared or any(weight.dim() != 2 or weight.shape[1] != width for weight in shared):
        shapes = ", ".join(str(tuple(weight.shape)) for weight in shared) or "none"
        raise ValueError(
            f"weights have shapes {shapes}, input_absmax {tuple(input_absmax.shape)}; "
            "pass [out_features, in_features] and [in_features]"
        )
    loudest = torch.stack([weight.detach().float().abs().amax(0) for weight in shared]).amax(0)
    if not bool(torch.isfinite(input_absmax).all()) or not bool(torch.isfinite(loudest).all()):
        raise ValueError(
            "input_absmax or weights hold NaN or infinite values; look at the calibration text "
            "and at the layers before this one"
        )
    if bool((input_absmax < 0).any()):
        raise ValueError("input_absmax holds negative values; pass magnitudes, x.abs().amax(0)")
    scales = input_absmax.float().pow(alpha) / loudest.clamp(min=LEAST).pow(1 - alpha)
    return scales.clamp(min=LEAST)


def check_alpha(alpha: float) -> None:
    """Raise a ``ValueError`` for an alpha that shares nothing out."""
    number = isinstance(alpha, int | float) and not isinstance(alpha, bool)
    if not number or not 0 <= alpha <= 1:
        raise ValueError(
            f"alpha={alpha!r} is not a share; choose 0 (even weights) to 1 (even inputs), "
            "0.5 by default"
        )

"""GPTQ in its naive form, Optimal Brain Surgeon: invert what is left of the Hessian at each step.

It is what :mod:`qlearn.methods.gptq` computes, without any of what makes that fast: a step costs
the inverse of a matrix, so a layer of 4,096 inputs would take days. It is meant to be read, and to
test the fast form against.

Sources: Hassibi and Stork 1993 (Optimal Brain Surgeon); Frantar and Alistarh 2022
(arXiv 2208.11580), who round weights with it instead of removing them.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from qlearn.numerics.affine import QuantizedTensor, choose_qparams, round_to_codes
from qlearn.numerics.scheme import QuantScheme


def obs_quantize(
    weight: Tensor, hessian: Tensor, scheme: QuantScheme, damping: float = 0.01
) -> QuantizedTensor:
    """Quantize column by column, from left to right.

    Args:
        weight: floats ``[out_features, in_features]``.
        hessian: ``2/n X^T X`` of the layer's inputs, ``[in_features, in_features]``.
        scheme: bits, symmetry, convention and group size.
        damping: share of the mean of ``diag(H)`` that is added to it.

    Raises:
        ValueError: as :func:`qlearn.numerics.affine.choose_qparams`.

    >>> weight, hessian = torch.tensor([[0.4, 1.0]]), torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    >>> obs_quantize(weight, hessian, QuantScheme(bits=2), damping=0).codes
    tensor([[1, 3]], dtype=torch.uint8)
    """
    wide = torch.float64 if weight.dtype == torch.float64 else torch.float32
    left = weight.detach().to(wide, copy=True)
    hessian = hessian.to(wide, copy=True)
    dead = hessian.diagonal() == 0  # inputs that are always 0: their weights do not matter
    hessian[dead, dead] = 1
    left[:, dead] = 0
    hessian.diagonal().add_(damping * hessian.diagonal().mean())

    rows, groups, _ = scheme.grid_shape(tuple(weight.shape))
    size = weight.shape[1] // groups
    own_grid = replace(scheme, group_size=scheme.group_size if groups == 1 else None)
    scale = left.new_empty(rows, groups)
    zero_point = torch.empty(rows, groups, dtype=torch.int32)
    codes = torch.empty(weight.shape, dtype=torch.uint8)
    for i in range(weight.shape[1]):
        group = i // size
        if i % size == 0:  # fit the group's grid to its columns as they are by now
            grid = choose_qparams(left[:, i : i + size], own_grid)
            scale[:, group], zero_point[:, group] = grid[0][:, 0], grid[1][:, 0]
        step, zero = scale[:, group], zero_point[:, group]
        code = round_to_codes(left[:, i], step, zero, scheme)
        codes[:, i] = code
        # How much each free column must move for one unit of error in this one, at the least cost.
        inverse = torch.linalg.inv(hessian[i:, i:])
        error = left[:, i] - (code - zero) * step
        left[:, i:] -= error[:, None] * (inverse[0] / inverse[0, 0])
    return QuantizedTensor(codes, scale, zero_point, scheme, weight.shape, weight.dtype)

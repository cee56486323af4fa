"""LLM.int8(): the columns of the inputs that hold an outlier are multiplied apart, in 16 bits.

One huge value in a row of the inputs stretches the row's grid, and all its other values fall onto a
few codes. Outliers sit in few columns. So these columns, and the weights that they meet, leave the
integer product, and a small product of floats makes good what is missing.

The rules are those of bitsandbytes, which the tests compare with:

- a column is taken out of *all* rows where any row of the call holds ``|x| >= threshold`` in it
  (after rounding to float16); so a token's result depends on the tokens that come with it;
- absmax of a row is taken over all its values below the threshold, those in such columns included;
- the weights of these columns are the dequantized codes: no 16-bit copy of them is kept;
- the float product is computed in the dtype of the inputs: 16 bits for half-precision models.

Source: Dettmers et al. 2022 (arXiv 2208.07339), section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qlearn.numerics.int8 import (
    INT8_MAX,
    as_half,
    check_matrix,
    dequantize_product,
    int8_product,
    to_codes,
)

THRESHOLD = 6.0  # the paper's


@dataclass(frozen=True)
class Decomposed:
    """Inputs, cut in two.

    Attributes:
        codes: int8 ``[rows, features]``, 0 in the outlier columns.
        absmax: float32 ``[rows]``, over the values below the threshold.
        columns: int64, the outlier columns in ascending order.
    """

    codes: Tensor
    absmax: Tensor
    columns: Tensor


def outlier_columns(x: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """The columns of ``x`` ``[rows, features]`` that hold some ``|x| >= threshold``, ascending.

    A threshold of 0 turns the search off: no column is an outlier.

    Raises:
        ValueError: for a threshold below 0 or not finite, or as
            :func:`qlearn.numerics.int8.absmax_int8`.

    >>> outlier_columns(torch.tensor([[0.1, -7.0, 0.2], [6.0, 0.3, 0.4]]))
    tensor([0, 1])
    """
    check_threshold(threshold)
    check_matrix(x)
    if threshold == 0:
        return torch.empty(0, dtype=torch.int64, device=x.device)
    return (as_half(x).abs() >= threshold).any(0).nonzero().view(-1)


def decompose(x: Tensor, threshold: float = THRESHOLD) -> Decomposed:
    """Quantize all but the outlier columns of ``x`` ``[rows, features]`` row by row.

    Raises:
        ValueError: as :func:`outlier_columns`.

    >>> decompose(torch.tensor([[0.5, 100.0, -1.0]])).codes
    tensor([[  64,    0, -127]], dtype=torch.int8)
    """
    columns = outlier_columns(x, threshold)
    # An outlier that overflows float16 is one all the same, and leaves no trace in the codes.
    values = x.detach().to(torch.float16) if threshold else as_half(x)
    if len(columns):
        values = values.masked_fill(values.abs() >= threshold, 0)
    absmax = values.abs().amax(1).float()
    codes = to_codes(values, absmax)
    codes[:, columns] = 0
    return Decomposed(codes, absmax, columns)


def llm_int8(
    x: Tensor,
    codes: Tensor,
    absmax: Tensor,
    threshold: float = THRESHOLD,
    bias: Tensor | None = None,
) -> Tensor:
    """A linear layer by LLM.int8().

    Args:
        x: floats ``[rows, in_features]``.
        codes: of the weight, int8 ``[out_features, in_features]``, as
            :func:`qlearn.numerics.int8.absmax_int8` gives them.
        absmax: of the weight's rows, float32 ``[out_features]``.
        threshold: of an outlier; 0 multiplies everything in INT8.
        bias: ``[out_features]`` or ``None``.

    Returns:
        ``[rows, out_features]`` in the dtype of ``x``.

    Raises:
        ValueError: as :func:`outlier_columns` and :func:`qlearn.numerics.int8.int8_product`.
    """
    parts = decompose(x, threshold)
    output = dequantize_product(int8_product(parts.codes, codes), parts.absmax, absmax)
    if bias is not None:
        output += bias
    output = output.to(x.dtype)
    if not len(parts.columns):
        return output
    weight = (codes[:, parts.columns] * absmax[:, None]).mul_(1 / INT8_MAX).to(x.dtype)
    return output.addmm(x[:, parts.columns], weight.t())


def check_threshold(threshold: float) -> None:
    """Raise a ``ValueError`` for a threshold that is no magnitude."""
    number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if not number or not 0 <= threshold < float("inf"):
        raise ValueError(
            f"threshold={threshold!r} is not a magnitude; choose 6.0 as the paper does, another "
            "positive number, or 0 to take no column out"
        )

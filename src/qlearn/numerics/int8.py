"""INT8 matrix products: both factors in 8 bits, sums in 32.

Each row of the inputs and each row of the weight is divided by its largest magnitude and rounded to
-127..127: the restricted symmetric grid of :mod:`qlearn.numerics.scheme`, with its scale times 127
kept, as the LLM.int8() paper and bitsandbytes keep it. A product of two such matrices is one of
integers, exact in 32 bits, and the two scales of each output come off at the end.

Values are rounded to float16 before the grid is fitted, as bitsandbytes does, so that codes and
absmax are bit for bit those of its ``int8_vectorwise_quant``. Where float16 overflows (beyond
65,504) the library gives NaN; here the float32 values are taken instead.

Source: Dettmers et al. 2022 (arXiv 2208.07339), section 2.1.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

INT8_MAX = 127
MOST_FEATURES = (2**31 - 1) // 128**2  # products of two codes that 32 bits can add up
PART = 2**24 // 128**2  # products of two codes whose sum float32 holds exactly


def absmax_int8(x: Tensor, per: str = "row") -> tuple[Tensor, Tensor]:
    """Round to ``x * (127 / absmax)``, with one absmax a row or one for all.

    Args:
        x: floats ``[rows, features]``, no NaN, no infinity.
        per: ``"row"`` (a token of the inputs, an output of the weight) or ``"tensor"``.

    Returns:
        Codes, int8 ``[rows, features]``, and absmax, float32 ``[rows]`` (``[1]`` per tensor). A row
        of zeros has absmax 0 and codes 0.

    Raises:
        ValueError: for something else than a float matrix, an empty one, NaN or infinite values,
            or another ``per``.

    >>> absmax_int8(torch.tensor([[0.5, -1.0, 0.25]]))
    (tensor([[  64, -127,   32]], dtype=torch.int8), tensor([1.]))
    """
    if per not in ("row", "tensor"):
        raise ValueError(f"per={per!r} is not known; choose 'row' or 'tensor'")
    check_matrix(x)
    values = as_half(x)
    magnitudes = values.abs()
    absmax = (magnitudes.amax(1) if per == "row" else magnitudes.amax()[None]).float()
    return to_codes(values, absmax), absmax


def to_codes(x: Tensor, absmax: Tensor) -> Tensor:
    """Codes on a grid that is given, such as one from calibration; what lies beyond is clipped.

    Args:
        x: floats ``[rows, features]``.
        absmax: float32 ``[rows]`` or ``[1]``.

    >>> to_codes(torch.tensor([[0.5, -3.0]]), absmax=torch.tensor([1.0]))
    tensor([[  64, -127]], dtype=torch.int8)
    """
    factor = torch.where(absmax > 0, INT8_MAX / absmax, torch.zeros_like(absmax))
    scaled = x * factor[:, None]  # float16 times float32 is float32
    return scaled.round_().clamp_(-INT8_MAX, INT8_MAX).to(torch.int8)


def int8_product(a: Tensor, b: Tensor) -> Tensor:
    """``a b^T`` of int8 matrices in exact int32, by ``torch._int_mm`` where it takes them.

    Args:
        a: int8 ``[rows, features]``.
        b: int8 ``[outputs, features]``, a weight as layers keep it.

    Returns:
        int32 ``[rows, outputs]``.

    Raises:
        ValueError: for other dtypes, shapes that do not match, or so many features that the sum of
            their products may not fit 32 bits.

    >>> int8_product(torch.tensor([[1, -2]]).char(), torch.tensor([[3, 4], [127, 127]]).char())
    tensor([[  -5, -127]], dtype=torch.int32)
    """
    for name, codes in (("a", a), ("b", b)):
        if codes.dtype != torch.int8 or codes.dim() != 2:
            raise ValueError(
                f"{name} has dtype {codes.dtype} and shape {tuple(codes.shape)}; "
                "pass an int8 matrix [rows, features], as absmax_int8 returns"
            )
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"a has {a.shape[1]} features, b {b.shape[1]}; both matrices are [rows, features]"
        )
    if a.shape[1] > MOST_FEATURES:
        raise ValueError(
            f"features={a.shape[1]} may overflow 32 bits; split the product into parts of "
            f"{MOST_FEATURES} features or fewer"
        )
    return torch._int_mm(a, b.t()) if _takes(a, b) else plain_product(a, b)


def plain_product(a: Tensor, b: Tensor) -> Tensor:
    """The same product with no integer kernel, by one of floats that is exact.

    Products of two codes are whole numbers of at most ``2^14``, and ``PART`` of them add up to at
    most ``2^24``: up to there float32 holds every whole number, so no order of the sum rounds. The
    parts are added as integers.
    """
    total = torch.zeros(a.shape[0], b.shape[0], dtype=torch.int32, device=a.device)
    for left, right in zip(a.split(PART, 1), b.split(PART, 1), strict=True):
        total += (left.float() @ right.float().t()).to(torch.int32)
    return total


def _takes(a: Tensor, b: Tensor) -> bool:
    """Whether ``torch._int_mm`` multiplies these, and with a kernel worth the name.

    CUDA wants many rows and multiples of 8. On a CPU without VNNI, instructions for INT8, it runs
    plain loops: with AVX2 alone, one thread, 3 times (1 row) to 28 times (512 rows) as slow as
    :func:`plain_product`.
    """
    if 0 in (*a.shape, *b.shape):
        return False
    if a.device.type == "cpu":
        return has_int8_instructions()
    return a.is_cuda and a.shape[0] > 16 and a.shape[1] % 8 == 0 and b.shape[0] % 8 == 0


@cache
def has_int8_instructions() -> bool:
    """Whether torch finds VNNI here; on ARM it looks for none, so floats are multiplied there."""
    known = getattr(torch.cpu, "_is_vnni_supported", None)  # private, so it may go
    return bool(known()) if known else True


def dequantize_product(product: Tensor, a_absmax: Tensor, b_absmax: Tensor) -> Tensor:
    """Take both scales off: ``product * a_absmax b_absmax^T / 127^2``, float32.

    Args:
        product: int32 ``[rows, outputs]``.
        a_absmax: float32 ``[rows]`` or ``[1]``.
        b_absmax: float32 ``[outputs]``.
    """
    return (product * (a_absmax[:, None] * b_absmax)).mul_(1 / INT8_MAX**2)


def dequantize_rows(codes: Tensor, absmax: Tensor) -> Tensor:
    """Float32 values of codes ``[rows, features]`` with one absmax a row: ``codes absmax / 127``.

    >>> dequantize_rows(torch.tensor([[127, -64]]).char(), torch.tensor([2.0]))
    tensor([[ 2.0000, -1.0079]])
    """
    return (codes * absmax[:, None]).mul_(1 / INT8_MAX)


def as_half(x: Tensor) -> Tensor:
    """``x`` in float16, or in float32 where that would overflow."""
    if x.dtype == torch.float16:
        return x
    half = x.detach().to(torch.float16)
    return half if all(map(torch.isfinite, torch.aminmax(half))) else x.detach().float()


def check_matrix(x: Tensor, name: str = "x") -> None:
    """Raise a ``ValueError`` for anything but a matrix of finite floats with elements."""
    if not isinstance(x, Tensor) or x.dim() != 2 or not x.is_floating_point():
        what = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"{name} is {what}; pass floats [rows, features]")
    if x.numel() == 0:
        raise ValueError(f"{name} of shape {tuple(x.shape)} holds no values; pass some rows")
    if not all(map(torch.isfinite, torch.aminmax(x.detach()))):
        bad = int((~torch.isfinite(x)).sum())
        raise ValueError(
            f"{name} holds {bad} NaN or infinite values, for which there is no scale; look at the "
            "layers before, or compute them in float32"
        )

"""GGUF's blocks: 32 weights of a row, and right before their codes the float16 numbers they share.

| type | bytes of a block | a weight | a grid of qlearn |
|---|---|---|---|
| Q8_0 | ``d``, then 32 int8 | ``d q`` | 8 bits, symmetric, groups of 32 |
| Q4_0 | ``d``, then 16 bytes | ``d (q - 8)`` | 4 bits, symmetric, groups of 32 |
| Q4_1 | ``d``, ``m``, then 16 bytes | ``d q + m`` | 4 bits, asymmetric, groups of 32 |

Byte ``j`` of a 4-bit block holds weight ``j`` in its low half, weight ``j + 16`` in its high half.
Q8_0 and Q4_0 hold a grid exactly. Q4_1 has a minimum in the place of a zero-point: ``m = -z d``, of
up to 15 bits, rounded to float16's 11. That moves the weights of a group, all alike, by 15 / 2048
of a step at the most; the zero-point comes back as ``-m / d``, rounded.

Source: ``block_q8_0``, ``block_q4_0`` and ``block_q4_1`` of ggml; gguf-py's ``quants.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from qlearn.numerics.affine import QuantizedTensor
from qlearn.numerics.scheme import QuantScheme

BLOCK = 32
SCHEMES = {
    "Q8_0": QuantScheme(8, True, BLOCK),
    "Q4_0": QuantScheme(4, True, BLOCK),
    "Q4_1": QuantScheme(4, False, BLOCK),
}
BLOCK_BYTES = {"Q8_0": 34, "Q4_0": 18, "Q4_1": 20}


def block_type(scheme: QuantScheme) -> str | None:
    """The type that holds a scheme, of whatever convention; ``None`` where there is none.

    >>> block_type(QuantScheme(4, True, 32, "restricted"))
    'Q4_0'
    """
    if scheme.group_size != BLOCK:
        return None
    kinds = {(known.bits, known.symmetric): name for name, known in SCHEMES.items()}
    return kinds.get((scheme.bits, scheme.symmetric))


def to_blocks(weight: QuantizedTensor) -> Tensor:
    """A weight ``[out, in]`` as the bytes of its rows, uint8 ``[out, in / 32 * bytes of a block]``.

    Raises:
        ValueError: for a scheme that no type holds, a scale or a minimum that float16 does not.

    >>> codes = torch.arange(32, dtype=torch.uint8)[None] % 16
    >>> one, eight = torch.ones(1, 1), torch.full((1, 1), 8)
    >>> to_blocks(QuantizedTensor(codes, one, eight, SCHEMES["Q4_0"], codes.shape))[0, :6]
    tensor([ 0, 60,  0, 17, 34, 51], dtype=torch.uint8)
    """
    kind, shared = shared_numbers(weight)
    rows, columns = weight.codes.shape
    groups = weight.codes.view(rows, columns // BLOCK, BLOCK)
    if kind == "Q8_0":
        packed = (groups.to(torch.int16) - 128).to(torch.int8).view(torch.uint8)
    else:
        packed = groups[..., :16] | groups[..., 16:] << 4
    return torch.cat((shared.view(torch.uint8), packed), dim=-1).view(rows, -1)


def shared_numbers(weight: QuantizedTensor) -> tuple[str, Tensor]:
    """The type of a weight, and what its blocks begin with: float16 ``[out, groups, 1 or 2]``.

    Raises:
        ValueError: as :func:`to_blocks`.
    """
    kind = block_type(weight.scheme)
    if kind is None:
        raise ValueError(f"scheme={weight.scheme} is of no type; choose one of {list(SCHEMES)}")
    shared = [weight.scale.half()]
    if not torch.equal(shared[0].to(weight.scale.dtype), weight.scale):
        low, high = (float(end) for end in torch.aminmax(weight.scale.abs()))
        raise ValueError(f"scales of {low:.3g} to {high:.3g} are not all numbers of float16")
    if kind == "Q4_1":
        shared.append((-weight.zero_point * weight.scale.to(torch.float32)).half())
        if not bool(torch.isfinite(shared[1]).all()):
            raise ValueError("minima, zero_point * scale, are too large for float16")
    return kind, torch.stack(shared, dim=-1)


def from_blocks(blocks: Tensor, kind: str, scheme: QuantScheme | None = None) -> QuantizedTensor:
    """The inverse of :func:`to_blocks`: bit for bit what was written.

    Args:
        blocks: uint8 ``[out, bytes]``.
        kind: the type, one of :data:`SCHEMES`.
        scheme: the scheme to give it; ``None`` is that of the type, in its usual convention.

    Raises:
        ValueError: for minima that are not a whole number of steps below 0, as those of llama.cpp's
            own quantizer.
    """
    scheme = scheme or SCHEMES[kind]
    grouped = blocks.contiguous().view(len(blocks), -1, BLOCK_BYTES[kind])
    head = 4 if kind == "Q4_1" else 2
    shared, packed = grouped[..., :head].contiguous().view(torch.float16), grouped[..., head:]
    scale = shared[..., 0].contiguous()
    zero_point = torch.full(scale.shape, scheme.levels // 2, dtype=torch.int32)
    if kind == "Q4_1":
        zero_point = _zero_points(scale, shared[..., 1], scheme)
    if kind == "Q8_0":
        codes = (packed.contiguous().view(torch.int8).to(torch.int16) + 128).to(torch.uint8)
    else:
        codes = torch.cat((packed & 15, packed >> 4), dim=-1)
    codes = codes.flatten(1)
    return QuantizedTensor(codes, scale, zero_point, scheme, codes.shape)


def _zero_points(scale: Tensor, minimum: Tensor, scheme: QuantScheme) -> Tensor:
    step = scale.to(torch.float32)
    zero_point = (-minimum.to(torch.float32) / step).round().nan_to_num(0).clamp(0, scheme.max_code)
    foreign = int(((-zero_point * step).half() != minimum).sum())
    if foreign:
        raise ValueError(
            f"{foreign} of {scale.numel()} minima are no whole number of steps below 0, as those "
            "of llama.cpp's own quantizer; load the floats with load_model"
        )
    return zero_point.to(torch.int32)

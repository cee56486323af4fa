"""Packing: codes of 2 to 8 bits into bytes, without a wasted bit.

Eight codes of ``b`` bits fill exactly ``b`` bytes, lowest bits first: code 0 takes the lowest bits
of the first byte. Seen as 32-bit little-endian words this is GPTQ's order too (eight 4-bit codes,
or 32 3-bit codes in three words). A row whose codes do not fill its last byte is padded with zero
bits.

Eight one-byte codes are one 64-bit word, so three shift-and-mask steps close the gaps of eight
codes at once: pairs of codes join to ``2b`` bits, pairs of pairs to ``4b``, both halves to ``8b``.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pack(codes: Tensor, bits: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    """Pack the last dimension of ``codes``.

    Args:
        codes: integers in ``[0, 2**bits - 1]``, shape ``[..., n]``, any integer dtype and strides.
        bits: width of a code, 1 to 8.
        dtype: ``torch.uint8`` for bytes, or ``torch.int32`` for words.

    Returns:
        uint8 ``[..., ceil(n * bits / 8)]`` or int32 ``[..., ceil(n * bits / 32)]``.

    Raises:
        ValueError: for codes that are not integers or do not fit, or other bits or dtypes.

    >>> pack(torch.tensor([1, 2, 3]), bits=4)
    tensor([33,  3], dtype=torch.uint8)
    """
    _check_bits(bits)
    if dtype not in (torch.uint8, torch.int32):
        raise ValueError(f"dtype={dtype} is not a word; choose torch.uint8 or torch.int32")
    if not isinstance(codes, Tensor):
        raise ValueError(f"codes={type(codes).__name__} is not a tensor; pass torch.tensor(codes)")
    if codes.is_floating_point() or codes.is_complex() or codes.dim() == 0:
        raise ValueError(
            f"codes has dtype {codes.dtype} and {codes.dim()} dimensions; "
            "pass an integer tensor [..., n]"
        )
    if codes.numel():
        low, high = (int(end) for end in torch.aminmax(codes))
        if low < 0 or high >= 1 << bits:
            raise ValueError(
                f"codes span {low} to {high}, outside [0, {(1 << bits) - 1}]; "
                f"clamp them or raise bits={bits}"
            )
    return _pack_valid(codes.to(torch.uint8), bits, dtype)


def _pack_valid(codes: Tensor, bits: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    """:func:`pack` for uint8 codes that are known to fit."""
    size = codes.shape[-1]
    unit = 8 if dtype == torch.uint8 else 32
    length = -(-size * bits // unit) * (unit // 8)  # bytes of the result's row
    padded = -(-length // bits) * 8  # whole words of eight codes that fill those bytes
    if codes.numel() == 0:
        return torch.empty(
            (*codes.shape[:-1], length * 8 // unit), dtype=dtype, device=codes.device
        )
    if padded != size:
        codes = torch.nn.functional.pad(codes, (0, padded - size))
    if bits == 4:  # the same bytes as below, by one step over 16-bit pairs: half the work
        pairs = _aligned(codes).view(torch.int16)
        packed = torch.bitwise_or(pairs, pairs >> 4).to(torch.uint8)
    elif bits == 8:
        packed = codes.contiguous()
    else:
        words = _aligned(codes).view(torch.int64)
        for width in (8, 16, 32):  # the distance between codes before the step
            used = bits * width // 8
            low = words & _every(2 * width, used)
            words = low | ((words ^ low) >> (width - used))
        packed = words.view(torch.uint8).unflatten(-1, (-1, 8))[..., :bits].flatten(-2)
    packed = _aligned(packed[..., :length])
    return packed if dtype == torch.uint8 else packed.view(torch.int32)


def unpack(packed: Tensor, bits: int, size: int | None = None) -> Tensor:
    """The inverse of :func:`pack`.

    Args:
        packed: uint8 or int32, shape ``[..., words]``.
        bits: width of a code, 1 to 8.
        size: codes a row; ``None`` takes as many as the words hold.

    Returns:
        uint8 codes, shape ``[..., size]``.

    Raises:
        ValueError: for other dtypes, bits, or a size that the words do not hold.
    """
    _check_bits(bits)
    if not isinstance(packed, Tensor):
        raise ValueError(f"packed={type(packed).__name__} is not a tensor; pass what pack returned")
    if packed.dtype not in (torch.uint8, torch.int32) or packed.dim() == 0:
        raise ValueError(
            f"packed has dtype {packed.dtype} and {packed.dim()} dimensions; "
            "pass the uint8 or int32 tensor that pack returned"
        )
    stream = _aligned(packed).view(torch.uint8)
    length = stream.shape[-1]
    size = length * 8 // bits if size is None else size
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= length * 8 // bits:
        raise ValueError(
            f"size={size} is not held by {length} bytes; choose 0 to {length * 8 // bits}"
        )
    if stream.numel() == 0:
        return stream.new_empty((*stream.shape[:-1], size))
    if bits == 8:
        return stream[..., :size].contiguous()
    if bits == 4:
        codes = torch.stack((stream & 15, stream >> 4), dim=-1).flatten(-2)
        return codes[..., :size].contiguous()
    whole = -(-length // bits) * bits
    groups = torch.nn.functional.pad(stream, (0, whole - length)).unflatten(-1, (-1, bits))
    words = torch.nn.functional.pad(groups, (0, 8 - bits)).view(torch.int64)
    for width in (32, 16, 8):
        used = bits * width // 8
        low = words & _every(2 * width, used)
        words = low | ((words ^ low) << (width - used))
    return words.view(torch.uint8).flatten(-2)[..., :size].contiguous()


def _aligned(tensor: Tensor) -> Tensor:
    """A copy or view that a wider dtype may look at: aligned storage, and strides without slack.

    ``contiguous()`` alone leaves odd strides on dimensions of size 1.
    """
    flat = tensor.contiguous().view(-1)
    return (flat if flat.storage_offset() % 8 == 0 else flat.clone()).view(tensor.shape)


def _every(width: int, used: int) -> int:
    """A 64-bit mask whose lowest ``used`` bits of every ``width`` are set, as a signed integer."""
    mask = sum(((1 << used) - 1) << start for start in range(0, 64, width))
    return mask - (1 << 64) if mask >> 63 else mask


def _check_bits(bits: int) -> None:
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 8:
        raise ValueError(f"bits={bits!r} is out of range; choose an integer from 1 to 8")

"""Blockwise quantization to a codebook: NF4, FP4, or levels of one's own.

A block of weights shares its absmax; each weight divided by it becomes the nearest level. Codes and
absmax equal those of bitsandbytes 0.50 (on a CPU) bit for bit, for NF4 and FP4. So does what comes
back, but where its kernels for AVX512 depart from ``level * absmax``: they take the absmax of wrong
blocks where rows end within a block, give some of FP4's second zeros a minus, and turn subnormal
bfloat16 to zero.

Sources: Dettmers et al. 2022 (arXiv 2110.02861) for blocks, 2023 (arXiv 2305.14314) for NF4 and
double quantization.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from qlearn.numerics.levels import FP4, NF4, Codebook
from qlearn.numerics.nearest import round_blocks
from qlearn.numerics.nested import NESTED_BLOCK, NestedAbsmax, quantize_absmax

__all__ = [
    "FP4",
    "NF4",
    "BlockwiseTensor",
    "Codebook",
    "CodebookScheme",
    "dequantize_range",
    "quantize_blockwise",
]

_CHUNK = 1 << 18  # weights dequantized at a time: they stay in the CPU's cache


@dataclass(frozen=True)
class CodebookScheme:
    """A codebook, how many weights share an absmax, and how that is stored.

    Args:
        codebook: the levels.
        block_size: weights a block, an even number. Blocks run on over the ends of rows.
        double_quant: whether absmax is quantized to 8 bits, in blocks of 256.

    Raises:
        ValueError: for arguments of another kind.

    >>> round(CodebookScheme(NF4, 64, double_quant=True).bits_per_weight((4096, 4096)), 3)
    4.127
    """

    codebook: Codebook
    block_size: int = 64
    double_quant: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.codebook, Codebook):
            raise ValueError(
                f"codebook={self.codebook!r:.60} is not a Codebook; pass NF4, FP4 or "
                "Codebook(name, levels)"
            )
        size = self.block_size
        if isinstance(size, bool) or not isinstance(size, int) or size < 2 or size % 2:
            raise ValueError(f"block_size={size!r} is not an even number above 0; choose 64")
        if not isinstance(self.double_quant, bool):
            raise ValueError(
                f"double_quant={self.double_quant!r} is not a bool; choose True or False"
            )

    def stored_bits(self, shape: tuple[int, ...]) -> int:
        """All bits of a tensor of ``shape``: codes, absmax, padding; the table of levels is fixed.

        Raises:
            ValueError: for an empty tensor.
        """
        count = prod(shape)
        if count == 0:
            raise ValueError(f"shape={tuple(shape)} holds no weights; pass a tensor with elements")
        blocks = -(-count // self.block_size)
        absmax = 32 * blocks
        if self.double_quant:
            absmax = 8 * blocks + 32 * -(-blocks // NESTED_BLOCK) + 32
        return 8 * -(-count * self.codebook.bits // 8) + absmax

    def bits_per_weight(self, shape: tuple[int, ...] = (4096, 4096)) -> float:
        """Stored bits over the number of weights, for a tensor of ``shape``."""
        return self.stored_bits(shape) / prod(shape)

    def __str__(self) -> str:
        return f"{self.codebook} b{self.block_size}{' double' if self.double_quant else ''}"


@dataclass(frozen=True)
class BlockwiseTensor:
    """Codes, and the absmax of each block.

    Attributes:
        codes: uint8 ``[ceil(n / 2)]``, the first code of a pair in the high nibble; ``[n]`` for a
            codebook of more than 16 levels.
        statistics: float32 absmax ``[blocks]``, or what double quantization made of it.
        scheme: codebook and block size.
        shape: shape of the tensor.
        dtype: dtype of the tensor, and of what :meth:`dequantize` returns.
    """

    codes: Tensor
    statistics: Tensor | NestedAbsmax
    scheme: CodebookScheme
    shape: torch.Size
    dtype: torch.dtype = torch.float32

    @property
    def absmax(self) -> Tensor:
        """What the levels are multiplied by, float32 ``[blocks]``."""
        return self.absmax_of(0, -(-self.shape.numel() // self.scheme.block_size))

    def absmax_of(self, first: int, last: int) -> Tensor:
        """The absmax of blocks ``first`` to ``last``, float32."""
        stored = self.statistics
        return stored.part(first, last) if isinstance(stored, NestedAbsmax) else stored[first:last]

    def dequantize(self) -> Tensor:
        """``level * absmax``, computed in float32, in the tensor's own shape and dtype."""
        values = torch.empty(self.shape, dtype=self.dtype, device=self.codes.device)
        flat = values.view(-1)
        for start in range(0, flat.numel(), _CHUNK):
            stop = min(start + _CHUNK, flat.numel())
            flat[start:stop] = dequantize_range(self, start, stop)
        return values

    @property
    def nbytes(self) -> int:
        """Bytes of codes and statistics; the table of levels is not counted."""
        stored = self.statistics
        absmax = stored.nbytes if isinstance(stored, NestedAbsmax) else 4 * stored.numel()
        return self.codes.numel() + absmax

    @property
    def stored_bits(self) -> int:
        """Bits of codes and statistics."""
        return 8 * self.nbytes

    @property
    def bits_per_weight(self) -> float:
        """Stored bits over the number of weights."""
        return self.stored_bits / self.shape.numel()


def quantize_blockwise(
    tensor: Tensor,
    codebook: Codebook = NF4,
    block_size: int = 64,
    double_quant: bool = False,
    compiled: bool = False,
) -> BlockwiseTensor:
    """Round a tensor to a codebook, block by block of its flattened values.

    Args:
        tensor: any float dtype, shape and strides; values are rounded to float32 first.
        codebook: the levels. A value halfway between two becomes the lower one.
        block_size: weights that share an absmax, an even number; the last block may be shorter.
        double_quant: quantize absmax too.
        compiled: let torch.compile fuse the steps: the same codes in half the time, after some
            seconds for the first call of a codebook and block size. It needs a C++ compiler (a
            warning says where it is missing), a CPU, and 2**18 weights; else the plain form is
            used.

    Raises:
        ValueError: for a tensor that is empty, not floating point, NaN or infinite (in float32),
            or other arguments that do not fit.

    >>> quantize_blockwise(torch.tensor([-1.0, 0.0, 0.5, 1.0])).codes.tolist()
    [7, 207]
    """
    scheme = CodebookScheme(codebook, block_size, double_quant)
    if not isinstance(tensor, Tensor):
        raise ValueError(
            f"tensor={type(tensor).__name__} is not a tensor; pass one, such as layer.weight"
        )
    if not tensor.is_floating_point():
        raise ValueError(f"tensor has dtype {tensor.dtype}; pass a floating-point tensor")
    if tensor.is_meta or tensor.layout != torch.strided:
        state = "on the meta device, without values" if tensor.is_meta else f"{tensor.layout}"
        raise ValueError(f"tensor is {state}; load it first, or pass tensor.to_dense()")
    if tensor.numel() == 0:
        raise ValueError(f"tensor has shape {tuple(tensor.shape)}; pass one with elements")
    flat = tensor.detach().reshape(-1)
    codes, absmax = round_blocks(flat, codebook, block_size, compiled)
    statistics = quantize_absmax(absmax) if double_quant else absmax
    return BlockwiseTensor(codes, statistics, scheme, tensor.shape, tensor.dtype)


def dequantize_range(stored: BlockwiseTensor, start: int, stop: int) -> Tensor:
    """Values ``start`` to ``stop`` of the flattened tensor, float32 ``[stop - start]``."""
    scheme, codes, count = stored.scheme, stored.codes, stored.shape.numel()
    size = scheme.block_size
    first = start // size * size  # whole blocks, and so whole bytes
    last = min(-(-stop // size) * size, count)
    levels = scheme.codebook.levels.to(codes.device)
    if scheme.codebook.bits == 4:
        part = codes[first // 2 : -(-last // 2)]
        values = _pairs(levels).index_select(0, part.int()).view(-1)[: last - first]
    else:
        values = levels.index_select(0, codes[first:last].int())
    scale = stored.absmax_of(first // size, -(-last // size))
    whole = (last - first) // size * size
    values[:whole].view(-1, size).mul_(scale[: whole // size, None])
    if whole < last - first:
        values[whole:].mul_(scale[-1])
    return values[start - first : stop - first]


def _pairs(levels: Tensor) -> Tensor:
    """The two levels of each byte, float32 ``[256, 2]``."""
    padded = torch.nn.functional.pad(levels, (0, 16 - len(levels)))
    return torch.stack([padded.repeat_interleave(16), padded.repeat(16)], dim=1)

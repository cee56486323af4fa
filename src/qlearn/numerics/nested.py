"""Double quantization: the absmax of each block, 32 bits a block of 64 weights, in 8 bits.

Their mean is taken off first, since magnitudes are all positive and a signed map wastes half its
codes on them; what is left is quantized in blocks of 256.

Source: Dettmers et al. 2023 (arXiv 2305.14314), section 3; the 8-bit map: Dettmers 2015
(arXiv 1511.04561), section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qlearn.numerics.levels import Codebook

NESTED_BLOCK = 256
_CELLS = 1 << 16


def dynamic_map() -> Tensor:
    """The 256 levels of the signed dynamic map, float32, rising.

    A leading run of zero bits is the decimal exponent, 0 down to -6, and the bits behind it divide
    that decade linearly: many fine levels where they are small, and always two digits.

    >>> dynamic_map()[[0, 127, 128, 255]]
    tensor([-9.9297e-01,  0.0000e+00,  5.5000e-07,  1.0000e+00])
    """
    decades = []
    for exponent in range(-6, 1):
        edges = torch.linspace(0.1, 1, 2 ** (exponent + 6) + 1)
        decades.append((edges[:-1] + edges[1:]) / 2 * 10.0**exponent)
    positive = torch.cat(decades)
    return torch.cat([-positive, torch.tensor([0.0, 1.0]), positive]).sort().values


DYNAMIC = Codebook("dynamic", dynamic_map())


@dataclass(frozen=True)
class NestedAbsmax:
    """The absmax of all blocks, quantized.

    Attributes:
        codes: uint8 ``[blocks]``, places in the dynamic map.
        absmax: float32 ``[ceil(blocks / 256)]``.
        offset: float32 scalar, the mean that was taken off.
    """

    codes: Tensor
    absmax: Tensor
    offset: Tensor

    def part(self, first: int, last: int) -> Tensor:
        """The absmax of blocks ``first`` to ``last``, float32: ``level * absmax + offset``."""
        codes = self.codes[first:last]
        levels = DYNAMIC.levels.to(codes.device).index_select(0, codes.int())
        owner = torch.arange(first, first + codes.numel(), device=codes.device) // NESTED_BLOCK
        return levels * self.absmax[owner] + self.offset

    @property
    def nbytes(self) -> int:
        """Bytes of codes, absmax and offset."""
        return self.codes.numel() + 4 * self.absmax.numel() + 4


def quantize_absmax(absmax: Tensor) -> NestedAbsmax:
    """Quantize the absmax of blocks as bitsandbytes does on a CPU, bit for bit.

    Args:
        absmax: float32 ``[blocks]``.

    Raises:
        ValueError: where their mean overflows float32.
    """
    offset = absmax.mean()
    if not bool(torch.isfinite(offset)):
        raise ValueError(
            f"double_quant: the mean of {absmax.numel()} absmax overflows float32; "
            "scale the weights down, or pass double_quant=False"
        )
    left = absmax - offset
    blocks = torch.nn.functional.pad(left, (0, -left.numel() % NESTED_BLOCK))
    blocks = blocks.view(-1, NESTED_BLOCK)
    largest = blocks.abs().amax(dim=1)
    scaled = (blocks * (1 / largest)[:, None]).clamp_(-1, 1)
    # A block of zeros keeps code 0, and so does 0 * inf where 1 / largest overflows: 0 * absmax.
    codes = _look_up(scaled).masked_fill_((largest == 0)[:, None], 0)
    return NestedAbsmax(codes.view(-1)[: left.numel()], largest, offset)


def _look_up(scaled: Tensor) -> Tensor:
    """The codes of values in [-1, 1], from the nearest of 65,536 evenly spaced places.

    bitsandbytes does not search the map on a CPU, it looks values up. Places are 3e-5 apart, which
    is wider than the levels around zero: seven of the 256 codes are never given.
    """
    # (x + 1) / 2 * 65535 + 0.5 is rounded once there, by a fused multiply-add, and so it is
    # here: float64 holds it whole.
    place = ((scaled + 1) * 0.5).double() * (_CELLS - 1) + 0.5
    index = place.float().nan_to_num_(0.0).to(torch.int32)
    return _table(scaled.device)[index.long()]


def _table(device: torch.device) -> Tensor:
    """The code of each place, uint8 ``[65536]``."""
    centres = torch.arange(_CELLS, dtype=torch.float32, device=device) * 2 / (_CELLS - 1) - 1
    return torch.bucketize(centres, DYNAMIC.boundaries.to(device)).to(torch.uint8)

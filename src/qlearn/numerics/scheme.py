"""QuantScheme: how many bits, which grid, and how many weights share it.

One frozen object carries the choice through the whole package, and counts its cost whole:
codes, scales, zero-points and padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod
from typing import Literal

GroupSize = int | Literal["tensor"] | None
CONVENTIONS = {
    "zero-exact": False,  # asymmetric, the range stretched to hold 0 (GPTQ, compressed-tensors)
    "raw-range": False,  # asymmetric, the bare minimum and maximum (AWQ)
    "full-range": True,  # symmetric, all 2**bits codes (GPTQ, compressed-tensors)
    "restricted": True,  # symmetric, one code given up for balance (bitsandbytes, SmoothQuant)
}
SCALE_BITS = 16  # scales are stored in float16, as GPTQ, AWQ and compressed-tensors store them


@dataclass(frozen=True)
class QuantScheme:
    """A uniform grid of ``2**bits`` codes and the set of weights that shares it.

    Args:
        bits: width of a code, 2 to 8.
        symmetric: a grid centred on 0; its zero-point is the constant ``2**(bits-1)``.
        group_size: weights along ``in_features`` that share a scale. ``None`` is per channel
            (one scale an output row), ``"tensor"`` is one scale for all.
        convention: the rule that fits the grid; ``None`` takes ``"zero-exact"`` for asymmetric
            and ``"full-range"`` for symmetric schemes. See :data:`CONVENTIONS`.

    Raises:
        ValueError: for bits, a group size or a convention that does not exist.

    >>> QuantScheme(bits=4, group_size=128).bits_per_weight((4096, 4096))
    4.15625
    """

    bits: int = 4
    symmetric: bool = False
    group_size: GroupSize = None
    convention: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or not isinstance(self.bits, int) or not 2 <= self.bits <= 8:
            raise ValueError(f"bits={self.bits!r} is out of range; choose an integer from 2 to 8")
        group = self.group_size
        is_count = isinstance(group, int) and not isinstance(group, bool) and group >= 1
        if not (group is None or group == "tensor" or is_count):
            raise ValueError(
                f"group_size={group!r} is not a group size; choose a positive integer, "
                'None (per channel) or "tensor"'
            )
        if not isinstance(self.symmetric, bool):
            raise ValueError(f"symmetric={self.symmetric!r} is not a bool; choose True or False")
        convention = self.convention
        if convention is None:
            convention = "full-range" if self.symmetric else "zero-exact"
        if CONVENTIONS.get(convention) is not self.symmetric:
            fitting = [name for name, kind in CONVENTIONS.items() if kind is self.symmetric]
            raise ValueError(
                f"convention={self.convention!r} is not one of symmetric={self.symmetric}; "
                f"choose {' or '.join(map(repr, fitting))}"
            )
        object.__setattr__(self, "convention", convention)

    @property
    def levels(self) -> int:
        """How many codes there are: ``2**bits``."""
        return int(2**self.bits)

    @property
    def max_code(self) -> int:
        """The largest code: ``2**bits - 1``."""
        return self.levels - 1

    def grid_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """How a tensor of ``shape`` is cut: ``(rows, groups a row, weights a group)``.

        Leading dimensions are rows; the last one is ``in_features``.

        Raises:
            ValueError: for an empty tensor, or a group size that does not divide the last one.
        """
        if prod(shape) == 0:
            raise ValueError(f"shape={tuple(shape)} holds no weights; pass a tensor with elements")
        in_features = shape[-1] if shape else 1
        rows = prod(shape) // in_features
        if self.group_size == "tensor":
            return 1, 1, rows * in_features
        if self.group_size is None:
            return rows, 1, in_features
        group = int(self.group_size)
        if in_features % group:
            raise ValueError(
                f"in_features={in_features} is not divisible by group_size={group}; "
                f"choose {_listed(_divisors_near(in_features, group))}"
            )
        return rows, in_features // group, group

    def stored_bits(self, shape: tuple[int, ...]) -> int:
        """All bits that a tensor of ``shape`` needs: codes, scales, zero-points and padding.

        A row of codes, and an asymmetric scheme's row of zero-points, is padded to whole bytes.
        """
        rows, groups, _ = self.grid_shape(shape)
        in_features = shape[-1] if shape else 1
        code_rows = prod(shape) // in_features
        total = code_rows * 8 * ceil(in_features * self.bits / 8)
        total += rows * groups * SCALE_BITS
        if not self.symmetric:
            total += rows * 8 * ceil(groups * self.bits / 8)
        return int(total)

    def bits_per_weight(self, shape: tuple[int, ...] = (4096, 4096)) -> float:
        """Stored bits over the number of weights, counted whole, for a tensor of ``shape``."""
        return self.stored_bits(shape) / prod(shape)

    def __str__(self) -> str:
        kind = "sym" if self.symmetric else "asym"
        group = {None: "per channel", "tensor": "per tensor"}.get(
            self.group_size,  # type: ignore[arg-type]
            f"g{self.group_size}",
        )
        usual = "full-range" if self.symmetric else "zero-exact"
        rule = "" if self.convention == usual else f" {self.convention}"
        return f"INT{self.bits} {group} {kind}{rule}"


def _divisors_near(number: int, wanted: int) -> list[int]:
    """Up to four divisors of ``number`` around ``wanted``, round ones where there are any."""
    divisors = [d for d in range(1, number + 1) if number % d == 0]
    for multiple in (32, 16, 8, 1):
        fitting = [d for d in divisors if d % multiple == 0 and (multiple == 1 or d < number)]
        if len(fitting) > 1:
            break
    return sorted(sorted(fitting, key=lambda d: abs(d - wanted))[:4])


def _listed(numbers: list[int]) -> str:
    words = [str(n) for n in numbers]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"

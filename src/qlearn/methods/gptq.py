"""GPTQ: round a weight column by column, and let the later columns make good each one's error.

Rounding column ``i`` of ``W`` by ``w_i - q_i`` moves the layer's outputs. The best answer of the
columns still free is known in closed form (Optimal Brain Surgeon): with ``U`` the upper Cholesky
factor of the inverse Hessian, ``H^-1 = U^T U``,

    e = (w_i - q_i) / U_ii        W[:, i+1:] -= e U[i, i+1:]        (GPTQ, equations 2 and 3)

``U`` comes from one Cholesky factor of the flipped Hessian and one triangular inverse; ``H^-1``
itself is never formed. :mod:`qlearn.methods.gptq_naive` computes the same by inverting at every
step.

Source: Frantar et al. 2022 (arXiv 2210.17323).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qlearn.numerics.affine import QuantizedTensor, choose_qparams, round_to_codes
from qlearn.numerics.scheme import QuantScheme


def gptq_quantize(
    weight: Tensor,
    hessian: Tensor,
    scheme: QuantScheme,
    act_order: bool = False,
    damping: float = 0.01,
    block_size: int = 128,
    static_groups: bool = False,
) -> QuantizedTensor:
    """Quantize a weight so that the layer's outputs, not its weights, change least.

    Args:
        weight: any float dtype, ``[out_features, in_features]``.
        hessian: ``2/n X^T X`` of the layer's inputs ``[in_features, in_features]``, as
            :class:`qlearn.convert.statistics.Hessian` gathers it; a constant factor does not
            matter.
        scheme: bits, symmetry, convention and group size.
        act_order: begin with the columns of the largest inputs (largest ``H_ii``), while there are
            many columns left to make good their errors. The codes come back in the weight's own
            column order. With groups this implies ``static_groups``, since a group's columns are
            then not met in a row.
        damping: share of the mean of ``diag(H)`` that is added to it, so that it can be inverted.
        block_size: columns that are updated at once. It changes the speed and not the result.
        static_groups: fit all grids to the weight as given. Otherwise each group's grid is fitted
            when its first column is reached, to the columns as they have been updated by then.

    Raises:
        ValueError: for a weight or a Hessian of a wrong shape or dtype, NaN or infinite values, a
            Hessian that is not symmetric or can't be inverted, options out of range.

    >>> weight = torch.tensor([[1.4, 1.4, 3.0]])  # the grid is 0, 1, 2, 3
    >>> hessian = torch.tensor([[2.0, 1.8, 0.0], [1.8, 2.0, 0.0], [0.0, 0.0, 2.0]])
    >>> gptq_quantize(weight, hessian, QuantScheme(bits=2), damping=0).codes
    tensor([[1, 2, 3]], dtype=torch.uint8)
    """
    _check(weight, hessian, damping, block_size)
    columns = weight.detach().T.to(_wide(weight), copy=True, memory_format=torch.contiguous_format)
    hessian, dead = revive_dead(hessian.to(columns.dtype))
    columns[dead] = 0
    order = hessian.diagonal().argsort(descending=True, stable=True) if act_order else None
    grid = Grid.of(columns, scheme, static=static_groups or act_order)
    if order is not None:
        columns, hessian = columns[order], hessian[order][:, order]
    codes = _round_columns(columns, inverse_factor(hessian, damping), grid, order, block_size)
    if order is not None:
        codes = torch.empty_like(codes).index_copy_(0, order, codes)
    scale, zero_point = grid.parameters()
    return QuantizedTensor(
        codes.T.contiguous(), scale, zero_point, scheme, weight.shape, weight.dtype
    )


def layer_loss(weight: Tensor, approximation: Tensor, hessian: Tensor) -> float:
    """``tr(E H E^T) / 2`` with ``E = weight - approximation``: what GPTQ makes small.

    For ``H = 2/n X^T X`` it is the squared error of the layer's outputs, summed over the outputs,
    mean over the tokens. With the damped Hessian it equals the sum of GPTQ's own column losses,
    ``(w_i - q_i)^2 / U_ii^2 / 2``.

    >>> layer_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 1.0]]), 2 * torch.eye(2))
    1.0
    """
    error = weight.detach().to(hessian.dtype) - approximation.to(hessian.dtype)
    return float(((error @ hessian) * error).sum(dtype=torch.float64) / 2)


def revive_dead(hessian: Tensor) -> tuple[Tensor, Tensor]:
    """``H_ii = 1`` for inputs that are always 0, and where they are (bool ``[in_features]``)."""
    dead = hessian.diagonal() == 0
    return hessian + torch.diag(dead.to(hessian.dtype)), dead


def inverse_factor(hessian: Tensor, damping: float = 0.01) -> Tensor:
    """Upper triangular ``U`` with ``U^T U = (H + damping * mean(diag H) I)^-1``.

    With ``J`` the flip of the order, ``J H J = L L^T`` gives ``H = (J L J)(J L J)^T``, whose factor
    ``J L J`` is upper triangular: ``U`` is its inverse, ``J L^-1 J``.

    Raises:
        ValueError: where the damped Hessian is not positive definite.

    >>> inverse_factor(torch.tensor([[4.0, 0.0], [0.0, 1.0]]), damping=0)
    tensor([[0.5000, 0.0000],
            [0.0000, 1.0000]])
    """
    flipped = hessian.flip(0, 1)
    flipped.diagonal().add_(damping * hessian.diagonal().mean())
    lower, info = torch.linalg.cholesky_ex(flipped)
    if int(info) or not bool(torch.isfinite(lower.diagonal()).all()):
        raise ValueError(
            f"hessian of shape {tuple(hessian.shape)} can't be inverted with damping={damping}; "
            "choose a larger damping such as 0.05, or calibrate on more tokens"
        )
    return _lower_inverse(lower).flip(0, 1)


@dataclass
class Grid:
    """The grid of each group of columns, fitted ahead (static) or when the group is reached."""

    scheme: QuantScheme
    size: int  # columns a group
    static: bool
    scale: Tensor  # [groups, out_features], or [1, 1] per tensor
    zero_point: Tensor  # the same in whole floats

    @classmethod
    def of(cls, columns: Tensor, scheme: QuantScheme, static: bool) -> Grid:
        """Room for the grids of ``columns`` ``[in_features, out_features]``; filled if static."""
        _, groups, _ = scheme.grid_shape(tuple(columns.T.shape))
        size = columns.shape[0] // groups
        # One grid a row, or one for all, is fitted at the first column: before any update.
        static = static or groups == 1
        if static:
            scale, zero_point = choose_qparams(columns.T, scheme)
            return cls(scheme, size, True, scale.T.contiguous(), zero_point.T.to(scale.dtype))
        empty = columns.new_empty(groups, columns.shape[1])
        return cls(scheme, size, False, empty, empty.clone())

    def fit(self, start: int, columns: Tensor) -> None:
        """Fit the grid of the group that begins at column ``start`` to ``columns``."""
        scale, zero_point = choose_qparams(columns.T, replace(self.scheme, group_size=None))
        self.scale[start // self.size] = scale[:, 0]
        self.zero_point[start // self.size] = zero_point[:, 0]

    def parameters(self) -> tuple[Tensor, Tensor]:
        """Scale and zero-point ``[rows, groups]`` as a :class:`QuantizedTensor` holds them."""
        return self.scale.T.contiguous(), self.zero_point.T.to(torch.int32).contiguous()


def _round_columns(
    columns: Tensor, factor: Tensor, grid: Grid, order: Tensor | None, block_size: int
) -> Tensor:
    """The codes ``[in_features, out_features]``; ``columns`` is used up."""
    codes = torch.empty(columns.shape, dtype=torch.uint8, device=columns.device)
    groups = torch.arange(len(columns)) if order is None else order.cpu()
    group_of = (groups // grid.size).tolist()
    pivots = factor.diagonal().tolist()
    for start, stop in _batches(len(columns), None if grid.static else grid.size, block_size):
        if not grid.static and start % grid.size == 0:
            grid.fit(start, columns[start : start + grid.size])
        errors = columns.new_empty(stop - start, columns.shape[1])
        for i in range(start, stop):
            column, done = columns[i], i - start
            # The errors of this batch so far; those of earlier batches are in the column already.
            column.addmv_(errors[:done].T, factor[start:i, i], alpha=-1)
            scale, zero_point = grid.scale[group_of[i]], grid.zero_point[group_of[i]]
            code = round_to_codes(column, scale, zero_point, grid.scheme)
            codes[i] = code
            torch.sub(column, code.sub_(zero_point).mul_(scale), out=errors[done])
            errors[done].div_(pivots[i])
        columns[stop:].addmm_(factor[start:stop, stop:].T, errors, alpha=-1)
    return codes


def _batches(length: int, group: int | None, block_size: int) -> Iterator[tuple[int, int]]:
    """Ranges of columns that are updated at once.

    A range never holds the start of a second group, so that a grid always sees columns that all
    errors before it have reached.
    """
    for begin in range(0, length, group or length):
        end = begin + (group or length)
        for start in range(begin, end, block_size):
            yield start, min(start + block_size, end)


def _lower_inverse(lower: Tensor) -> Tensor:
    """Inverse of a lower triangular matrix, by halves: a third of the work of a full solve."""
    size = len(lower)
    if size <= 256:
        identity = torch.eye(size, dtype=lower.dtype, device=lower.device)
        return torch.linalg.solve_triangular(lower, identity, upper=False)
    half = size // 2
    result = torch.zeros_like(lower)
    result[:half, :half] = _lower_inverse(lower[:half, :half])
    result[half:, half:] = _lower_inverse(lower[half:, half:])
    torch.mm(
        result[half:, half:], lower[half:, :half] @ result[:half, :half], out=result[half:, :half]
    ).neg_()
    return result


def _wide(weight: Tensor) -> torch.dtype:
    return torch.float64 if weight.dtype == torch.float64 else torch.float32


def _check(weight: Tensor, hessian: Tensor, damping: float, block_size: int) -> None:
    """Refuse what can't be quantized; NaN weights are left to ``choose_qparams``."""
    if weight.dim() != 2 or not weight.is_floating_point() or weight.numel() == 0:
        raise ValueError(
            f"weight has shape {tuple(weight.shape)} and dtype {weight.dtype}; "
            "pass floats [out_features, in_features]"
        )
    size = weight.shape[1]
    if tuple(hessian.shape) != (size, size) or not hessian.is_floating_point():
        raise ValueError(
            f"hessian has shape {tuple(hessian.shape)} and dtype {hessian.dtype}; pass floats "
            f"[{size}, {size}] for in_features={size}"
        )
    for name, tensor in (("weight", weight), ("hessian", hessian)):
        if not all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(tensor)):
            raise ValueError(
                f"{name} holds {int((~torch.isfinite(tensor)).sum())} NaN or infinite values; "
                "look at the calibration text and at the layers before this one"
            )
    largest = float(hessian.abs().max())
    if float((hessian - hessian.T).abs().max()) > 1e-3 * largest:
        raise ValueError("hessian is not symmetric; pass X^T X of the layer's inputs X")
    if bool((hessian.diagonal() < 0).any()):
        raise ValueError("hessian has negative values on its diagonal; pass X^T X of the inputs X")
    if not 0 <= damping < float("inf"):
        raise ValueError(f"damping={damping} is not a share; choose 0 or more, such as 0.01")
    if isinstance(block_size, bool) or not isinstance(block_size, int) or block_size < 1:
        raise ValueError(f"block_size={block_size!r} is not a count; choose 1 or more, such as 128")

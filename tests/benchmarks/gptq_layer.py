"""GPTQ of one 4096 x 4096 layer, groups of 128: ``results/gptq_layer.json``.

Beside it the same algorithm in two plain torch forms: the inverse Hessian and its Cholesky factor
formed whole, and a column of a row-major weight at a time. The first updates all later columns at
once after each column; the second only those of its batch of 128, and the rest after the batch, as
the paper's listing does. Losses are relative to those of round-to-nearest.

    python tests/benchmarks/gptq_layer.py [width]
"""

from __future__ import annotations

import sys
import time

import torch
from _results import save
from torch import Tensor

from qlearn import QuantScheme, quantize
from qlearn.methods.gptq import gptq_quantize, layer_loss

COMMAND = "python tests/benchmarks/gptq_layer.py"
GROUP = 128
SCHEME = QuantScheme(4, False, GROUP)


def plain_gptq(weight: Tensor, hessian: Tensor, damping: float = 0.01, block: int = 128) -> Tensor:
    """The algorithm as the paper's listing gives it; returns the rounded weight."""
    left, rounded = weight.clone(), torch.zeros_like(weight)
    hessian = hessian.clone()
    hessian.diagonal().add_(damping * hessian.diagonal().mean())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor = torch.linalg.cholesky(inverse, upper=True)
    top = SCHEME.max_code
    for start in range(0, weight.shape[1], block):
        stop = start + block
        batch = left[:, start:stop].clone()
        errors = torch.zeros_like(batch)
        own = factor[start:stop, start:stop]
        for i in range(block):
            column = batch[:, i]
            if (start + i) % GROUP == 0:
                group = batch[:, i : i + GROUP]
                low, high = group.amin(1).clamp(max=0), group.amax(1).clamp(min=0)
                scale = (high - low) / top
                zero = torch.round(-low / scale)
            codes = torch.clamp(torch.round(column / scale) + zero, 0, top)
            value = scale * (codes - zero)
            rounded[:, start + i] = value
            error = (column - value) / own[i, i]
            batch[:, i:] -= error.unsqueeze(1).matmul(own[i, i:].unsqueeze(0))
            errors[:, i] = error
        left[:, stop:] -= errors.matmul(factor[start:stop, stop:])
    return rounded


def problem(width: int) -> tuple[Tensor, Tensor]:
    """A seeded weight and the Hessian of correlated inputs whose sizes differ widely."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2 * width, width // 4, generator=generator)
    mix = torch.randn(width // 4, width, generator=generator) / width**0.5
    inputs = hidden @ mix + 0.3 * torch.randn(2 * width, width, generator=generator)
    inputs *= torch.rand(width, generator=generator).mul(3).exp()
    weight = torch.randn(width, width, generator=generator) / width**0.5
    return weight, 2 / len(inputs) * inputs.T @ inputs


def main() -> None:
    torch.set_num_threads(2)
    width = int(sys.argv[1]) if len(sys.argv) > 1 else 4096
    weight, hessian = problem(width)
    nearest = layer_loss(weight, quantize(weight, SCHEME).dequantize(), hessian)
    rows = []
    for name, run in (
        ("qlearn", lambda: gptq_quantize(weight, hessian, SCHEME).dequantize()),
        ("plain", lambda: plain_gptq(weight, hessian, block=width)),
        ("plain, batches of 128", lambda: plain_gptq(weight, hessian)),
    ):
        start, busy = time.perf_counter(), time.process_time()
        rounded = run()
        rows.append(
            {
                "form": name,
                "width": width,
                "seconds": round(time.perf_counter() - start, 2),
                "cpu_seconds": round(time.process_time() - busy, 2),
                "loss_over_rtn": round(layer_loss(weight, rounded, hessian) / nearest, 6),
            }
        )
        print(rows[-1], flush=True)
    if width == 4096:
        save("gptq_layer", rows, command=COMMAND, scheme=str(SCHEME), threads=2)


if __name__ == "__main__":
    main()

"""Assignment 5, a layer with an adapter: forward over a base in NF4, and backward."""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor

from qlearn.assignments.a5.codes import NF4_OFFSET, levels, quantize_blocks
from qlearn.assignments.shared.cases import generator_of
from qlearn.teach.checks.checker import Exercise

BLOCK = 64


def lora_forward(
    x: Tensor, codes: Tensor, absmax: Tensor, table: Tensor, a: Tensor, b: Tensor, alpha: float
) -> Tensor:
    """A frozen NF4 layer and its adapter; the output has as many features as B has rows."""
    return x @ base(codes, absmax, table, len(b)).T + alpha / len(a) * (x @ a.T) @ b.T


def base(codes: Tensor, absmax: Tensor, table: Tensor, rows: int) -> Tensor:
    """The weight ``[rows, in]`` that codes in blocks of 64 stand for."""
    scale = absmax.repeat_interleave(BLOCK)[: len(codes)]
    return (table[codes.long()] * scale).view(rows, -1)


def make_lora(seed: int) -> Exercise:
    """Inputs of two and three dimensions, blocks that run on over the ends of rows."""
    generator = generator_of(seed, 54)
    table = levels(4, NF4_OFFSET)
    cases = []
    for inputs, outputs, rank, alpha, tokens in (
        (64, 24, 4, 8.0, (5,)),
        (40, 16, 8, 16.0, (2, 3)),
        (96, 10, 2, 5.0, (4,)),
    ):
        weight = 0.1 * torch.randn(outputs, inputs, generator=generator)
        codes, absmax = quantize_blocks(weight, table, BLOCK)
        cases.append(
            (
                torch.randn(*tokens, inputs, generator=generator),
                codes,
                absmax,
                table,
                0.3 * torch.randn(rank, inputs, generator=generator),
                0.3 * torch.randn(outputs, rank, generator=generator),
                alpha,
            )
        )

    def scaled(factor: Any) -> Any:
        return lambda x, c, m, t, a, b, alpha: (
            x @ base(c, m, t, len(b)).T + factor(alpha, len(a)) * x @ a.T @ b.T
        )

    def by_rows(
        x: Tensor, c: Tensor, m: Tensor, t: Tensor, a: Tensor, b: Tensor, alpha: Any
    ) -> Any:
        rows = t[c.long()].view(len(b), -1)
        scale = m[torch.arange(len(b)) % len(m), None]
        return x @ (rows * scale).T + alpha / len(a) * x @ a.T @ b.T

    return Exercise(
        id="a5.lora",
        task="Write `lora_forward(x, codes, absmax, levels, a, b, alpha)`: the output of a frozen "
        "layer, whose weight [out, in] is stored as codes and absmax in blocks of 64, plus its "
        "adapter's, alpha / rank times x A^T B^T. `x` is [..., in].",
        expected=lora_forward,
        cases=cases,
        mistakes={
            "The factor alpha / rank is missing.": scaled(lambda alpha, rank: 1.0),
            "The factor is alpha; divide it by the rank.": scaled(lambda alpha, rank: alpha),
            "The factor is alpha / sqrt(rank): that is rank-stabilised LoRA.": scaled(
                lambda alpha, rank: alpha / sqrt(rank)
            ),
            "The factor is upside down: alpha / rank.": scaled(lambda alpha, rank: rank / alpha),
            "The adapter is taken off; it is added.": scaled(lambda alpha, rank: -alpha / rank),
            "This is the base alone: the adapter is missing.": scaled(lambda alpha, rank: 0.0),
            "This is the adapter alone: the frozen base is missing.": (
                lambda x, c, m, t, a, b, alpha: alpha / len(a) * x @ a.T @ b.T
            ),
            "The levels were not multiplied by their block's absmax.": (
                lambda x, c, m, t, a, b, alpha: (
                    x @ t[c.long()].view(len(b), -1).T + alpha / len(a) * x @ a.T @ b.T
                )
            ),
            "The absmax belong to blocks of 64 weights, which run on over the ends of rows; you "
            "give each row one.": by_rows,
            "The codes themselves were taken for weights; look their levels up.": (
                lambda x, c, m, t, a, b, alpha: (
                    x @ c.float().view(len(b), -1).T + alpha / len(a) * x @ a.T @ b.T
                )
            ),
            "The factor multiplies the base too; it belongs to the adapter.": (
                lambda x, c, m, t, a, b, alpha: (
                    alpha / len(a) * (x @ base(c, m, t, len(b)).T + x @ a.T @ b.T)
                )
            ),
        },
        rtol=1e-4,
        atol=1e-5,
        hint="levels[codes.long()] * absmax.repeat_interleave(64), cut to the codes' length, "
        "viewed as [out, in].",
    )


def adapter_gradients(
    x: Tensor, upstream: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: float
) -> dict[str, Tensor]:
    """Gradients of A, of B, and of the layer's input; the weight is frozen."""
    factor = alpha / len(a)
    return {
        "a": factor * (upstream @ b).T @ x,
        "b": factor * upstream.T @ (x @ a.T),
        "x": upstream @ weight + factor * upstream @ b @ a,
    }


def make_gradients(seed: int) -> Exercise:
    """A trained adapter, a fresh one (B zero), a rank of 1."""
    generator = generator_of(seed, 55)

    def some(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    cases = []
    for inputs, outputs, rank, alpha, fresh in (
        (12, 8, 3, 6.0, False),
        (10, 10, 4, 16.0, True),
        (6, 9, 1, 2.5, False),
    ):
        b = torch.zeros(outputs, rank) if fresh else some(outputs, rank)
        cases.append(
            (
                some(7, inputs),
                some(7, outputs),
                some(outputs, inputs),
                some(rank, inputs),
                b,
                alpha,
            )
        )

    def of(**change: Any) -> Any:
        def wrong(x: Any, g: Any, w: Any, a: Any, b: Any, alpha: float) -> dict[str, Tensor]:
            made = {n: f(x, g, w, a, b, alpha / len(a)) for n, f in change.items()}
            return {**adapter_gradients(x, g, w, a, b, alpha), **made}

        return wrong

    return Exercise(
        id="a5.gradients",
        task="Write `adapter_gradients(x, upstream, weight, a, b, alpha)`: a dict of the gradients "
        "of `a`, `b` and `x` for y = x W^T + alpha / rank * x A^T B^T, where `upstream` "
        "[tokens, out] is the gradient of y. The weight is frozen: it gets none.",
        expected=adapter_gradients,
        cases=cases,
        mistakes={
            "The gradient of x goes through the adapter alone. It goes through the frozen base "
            "too, or the layers before it could not learn.": of(
                x=lambda x, g, w, a, b, f: f * g @ b @ a
            ),
            "The gradient of x goes through the base alone; the adapter is a way to it too.": of(
                x=lambda x, g, w, a, b, f: g @ w
            ),
            "The factor alpha / rank is missing in the gradients of A and B.": of(
                a=lambda x, g, w, a, b, f: (g @ b).T @ x,
                b=lambda x, g, w, a, b, f: g.T @ (x @ a.T),
            ),
            "The factor alpha / rank is missing in the gradient of x.": of(
                x=lambda x, g, w, a, b, f: g @ w + g @ b @ a
            ),
            "The factor alpha / rank is missing everywhere.": of(
                a=lambda x, g, w, a, b, f: (g @ b).T @ x,
                b=lambda x, g, w, a, b, f: g.T @ (x @ a.T),
                x=lambda x, g, w, a, b, f: g @ w + g @ b @ a,
            ),
            "The gradients of A and B are turned over: each has the shape of its matrix.": of(
                a=lambda x, g, w, a, b, f: f * x.T @ (g @ b),
                b=lambda x, g, w, a, b, f: f * (x @ a.T).T @ g,
            ),
            "The frozen weight has a gradient here; nothing is kept for it.": of(
                weight=lambda x, g, w, a, b, f: g.T @ x
            ),
            "You divide by the number of tokens; that is for the loss to do.": of(
                a=lambda x, g, w, a, b, f: f * (g @ b).T @ x / len(x),
                b=lambda x, g, w, a, b, f: f * g.T @ (x @ a.T) / len(x),
            ),
            "The gradient of A is 0. It is so only while B is 0.": of(
                a=lambda x, g, w, a, b, f: torch.zeros_like(a)
            ),
            "The gradient of B is 0 here because it is multiplied by B; it is made of x A^T.": of(
                b=lambda x, g, w, a, b, f: b * (f * g.T @ (x @ a.T))
            ),
            "The factor is alpha; divide it by the rank.": of(
                a=lambda x, g, w, a, b, f: f * len(a) * (g @ b).T @ x,
                b=lambda x, g, w, a, b, f: f * len(a) * g.T @ (x @ a.T),
                x=lambda x, g, w, a, b, f: g @ w + f * len(a) * g @ b @ a,
            ),
        },
        rtol=1e-4,
        atol=1e-4,
        hint="With h = x A^T and y = ... + f * h B^T: dB = f * upstream^T h, dh = f * upstream B, "
        "dA = dh^T x.",
    )

"""Answers to chapter 7's exercises, written apart from the exercises: right ones and wrong ones."""

import torch

from qlearn import quantize


def scales_by_logarithms(mean, ratio):
    logs = ratio * mean.double().log()
    return (logs - (logs.max() + logs.min()) / 2).exp().to(mean.dtype)


def fold_by_matrices(norm, weight, scales):
    return torch.linalg.solve(torch.diag(scales), norm), weight @ torch.diag(scales)


def loss_by_tokens(weight, inputs, scales, scheme, back=True):
    codes = quantize(weight @ torch.diag(scales), scheme).dequantize()
    new = codes / scales[None] if back else codes
    squares = [(new @ x - weight @ x).pow(2).mean() for x in inputs]
    return torch.stack(squares).mean().item()


def ratio_by_moments(weight, inputs, scheme, steps=20, divide=20):
    """Scales that are not normalised differ by a factor that rounding does not see."""
    moment = inputs.double().T @ inputs.double()
    best = None
    for step in range(steps):
        scales = scales_by_logarithms(inputs.abs().mean(0), step / steps)
        error = (quantize(weight * scales, scheme).dequantize() / scales - weight).double()
        loss = torch.einsum("oi,ij,oj->", error, moment, error).item()
        if best is None or loss < best[0]:
            best = loss, step / divide
    return best[1]


def ratio_by_weights(weight, inputs, scheme):
    def loss(step):
        scales = scales_by_logarithms(inputs.abs().mean(0), step / 20)
        return (quantize(weight * scales, scheme).dequantize() / scales - weight).norm().item()

    return min(range(20), key=loss) / 20


def ratio_of_the_worst(weight, inputs, scheme):
    def loss(step):
        scales = scales_by_logarithms(inputs.abs().mean(0), step / 20)
        return loss_by_tokens(weight, inputs, scales, scheme)

    return max(range(20), key=loss) / 20


CASES = {
    "ch07.channel_scales": {
        "right": [scales_by_logarithms],
        "wrong": [
            (torch.pow, "division is missing"),
            (lambda m, r: m.pow(r) / m.pow(r).max() / m.pow(r).min(), "square root"),
            (lambda m, r: scales_by_logarithms(m, -r), "inverse scales"),
            (lambda m, r: m.pow(r) * len(m) / m.pow(r).sum(), "mean of the scales"),
        ],
    },
    "ch07.fold": {
        "right": [fold_by_matrices],
        "wrong": [
            (lambda n, w, s: (n.mul(s), w.div(s)), "wrong way round"),
            (lambda n, w, s: (n.clone(), w @ s.diag()), "norm is as it was"),
            (lambda n, w, s: (s * n, s[None] * w), "Both are multiplied"),
            (lambda n, w, s: (n / s, torch.diag(s) @ w), "scale the rows"),
        ],
    },
    "ch07.output_loss": {
        "right": [loss_by_tokens],
        "wrong": [
            (lambda w, x, s, q: loss_by_tokens(w, x, s, q, back=False), "divided by the scales"),
            (
                lambda w, x, s, q: loss_by_tokens(w, torch.eye(w.shape[1]), s, q),
                "error of the weights",
            ),
            (
                lambda w, x, s, q: loss_by_tokens(w, x, s, q) * x.shape[0] * w.shape[0],
                "This is a sum",
            ),
            (lambda w, x, s, q: loss_by_tokens(w, x, s**0, q), "scales have no effect"),
        ],
    },
    "ch07.best_ratio": {
        "right": [ratio_by_moments],
        "wrong": [
            (ratio_by_weights, "errors of the weights"),
            (ratio_of_the_worst, "largest error"),
            (lambda w, x, s: float(ratio_by_moments(w, x, s, divide=1)), "counted from 0"),
            (lambda w, x, s: ratio_by_moments(w, x, s, divide=19), "end at 1"),
        ],
    },
    "ch07.smaller": {
        "right": [16, 16.0],
        "wrong": [
            (4, "factor of the error itself"),
            (1, "4 times smaller"),
            (2.0, "root of the factor"),
            (256, "squared twice"),
        ],
    },
}

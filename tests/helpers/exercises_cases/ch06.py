"""Answers to chapter 6's exercises, written apart from the exercises: right ones and wrong ones."""

import torch


def loss_from_rows(weight, approximation, hessian):
    return sum(0.5 * (e @ hessian @ e).item() for e in (approximation - weight).double().float())


def compensate_by_solving(row, i, value, inverse):
    """Minimise the quadratic over the free weights, by their normal equations."""
    hessian = torch.linalg.inv(inverse.double())
    free = [k for k in range(len(row)) if k != i]
    fixed = value - float(row[i])
    moves = torch.linalg.solve(hessian[free][:, free], -hessian[free, i] * fixed)
    result = row.clone()
    result[i] = value
    result[free] += moves.to(row.dtype)
    return result


def factor_by_flipping(hessian):
    lower = torch.linalg.cholesky(hessian.double().flip(0, 1))
    return torch.linalg.inv(lower).flip(0, 1).to(hessian.dtype)


def gptq_by_factor(weight, hessian, scale, zero_point, stale=False):
    upper = torch.linalg.cholesky(torch.linalg.inv(hessian.double()), upper=True)
    if stale:
        whole = torch.linalg.inv(hessian.double())
        upper = whole / whole.diagonal().sqrt()[:, None]
    now = weight.double().clone()
    for i in range(weight.shape[1]):
        code = (now[:, i : i + 1] / scale).round() + zero_point
        value = ((code.clamp(0, 7) - zero_point) * scale)[:, 0]
        error = (now[:, i] - value) / upper[i, i]
        now[:, i] = value
        now[:, i + 1 :] -= error[:, None] * upper[i, i + 1 :]
    return now.to(weight.dtype)


def gptq_from_the_given_weight(weight, hessian, scale, zero_point):
    upper = torch.linalg.cholesky(torch.linalg.inv(hessian.double()), upper=True)
    now, done = weight.double().clone(), weight.clone()
    for i in range(weight.shape[1]):
        code = (now[:, i : i + 1] / scale).round() + zero_point
        done[:, i] = ((code.clamp(0, 7) - zero_point) * scale)[:, 0]
        error = (weight[:, i] - done[:, i]).double() / upper[i, i]
        now[:, i:] -= error[:, None] * upper[i, i:]
    return done


def to_nearest(weight, hessian, scale, zero_point):
    return (((weight / scale).round() + zero_point).clamp(0, 7) - zero_point) * scale


CASES = {
    "ch06.loss": {
        "right": [loss_from_rows],
        "wrong": [
            (lambda w, a, h: 2 * loss_from_rows(w, a, h), "half is missing"),
            (lambda w, a, h: (w - a).square().sum().item(), "error of the weights"),
            (lambda w, a, h: loss_from_rows(w, a, h.diagonal().diag()), "diagonal of the Hessian"),
            (lambda w, a, h: loss_from_rows(w, a, h) / w.shape[0], "mean over the rows"),
        ],
    },
    "ch06.compensate": {
        "right": [compensate_by_solving],
        "wrong": [
            (
                lambda r, i, v, m: torch.cat([r[:i], torch.tensor([v]), r[i + 1 :]]),
                "no other weight moves",
            ),
            (
                lambda r, i, v, m: torch.where(
                    torch.arange(len(r)) == i,
                    torch.tensor(v),
                    2 * r - compensate_by_solving(r, i, v, m),
                ),
                "wrong way",
            ),
            (
                lambda r, i, v, m: torch.where(
                    torch.arange(len(r)) == i, torch.tensor(v), r + (v - r[i]) * m[i]
                ),
                "not divided",
            ),
            (
                lambda r, i, v, m: torch.where(
                    torch.arange(len(r)) == i, r, compensate_by_solving(r, i, v, m)
                ),
                "still where it was",
            ),
        ],
    },
    "ch06.factor": {
        "right": [factor_by_flipping],
        "wrong": [
            (lambda h: torch.linalg.cholesky(torch.linalg.inv(h)), "lower triangular"),
            (lambda h: torch.linalg.cholesky(h).T, "factor of the Hessian"),
            (
                lambda h: torch.linalg.inv(torch.linalg.cholesky(h, upper=True)),
                "U U^T is the inverse",
            ),
            (lambda h: torch.linalg.solve(h, torch.eye(len(h))), "inverse itself"),
        ],
    },
    "ch06.gptq": {
        "right": [gptq_by_factor],
        "wrong": [
            (lambda w, h, s, z: gptq_by_factor(w, h, s, z, stale=True), "stale inverse"),
            (to_nearest, "rounding to nearest"),
            (
                lambda w, h, s, z: gptq_by_factor(w, h.diagonal().diag(), s, z),
                "rounding to nearest",
            ),
            (gptq_from_the_given_weight, "measured from the weight as it was given"),
        ],
    },
    "ch06.uncorrelated": {
        "right": [0.84, 0.839],
        "wrong": [
            (0.42, "no weight can"),
            (0.0, "nothing is rounded"),
            (1.68, "can't be larger"),
        ],
    },
}

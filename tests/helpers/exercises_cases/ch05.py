"""Answers to chapter 5's exercises, written apart from the exercises: right ones and wrong ones."""

import torch
from torch.nn.functional import linear


def codes_row_by_row(x):
    found = []
    for row in x.double():
        most = max(abs(v) for v in row.tolist())
        found.append([round(v / most * 127) for v in row.tolist()])
    return torch.tensor(found, dtype=torch.int8)


def codes_of_one_grid(x):
    return torch.round(127 * x / torch.max(torch.abs(x))).to(torch.int8)


def columns_by_loop(x, threshold):
    columns = range(x.shape[1])
    found = [k for k in columns if max(x[:, k].max(), -x[:, k].min()) >= threshold]
    return torch.tensor(found, dtype=torch.int64)


def product_in_two_parts(x, weight, threshold, keep=True, zero=True, square=True):
    """Index columns instead of masking them, with float64 integers."""
    loud = [k for k in range(x.shape[1]) if (x[:, k].abs() >= threshold).any()]
    quiet = [k for k in range(x.shape[1]) if k not in loud] if zero else range(x.shape[1])
    a, b = x.double(), weight.double()
    a_top = a[:, [k for k in range(x.shape[1]) if k not in loud]].abs().max(1).values
    b_top = b.abs().max(1).values
    a_codes = torch.round(a / a_top[:, None] * 127)
    b_codes = torch.round(b / b_top[:, None] * 127)
    quiet = list(quiet)
    out = linear(a_codes[:, quiet], b_codes[:, quiet]) * torch.outer(a_top, b_top)
    out = out / 127 / (127 if square else 1)
    if keep:
        out += linear(a[:, loud], (b_codes * b_top[:, None] / 127)[:, loud])
    return out.to(x.dtype)


def with_stretched_rows(x, weight, threshold):
    """The outliers go apart, but they have fitted the grid before."""
    loud = (x.abs() >= threshold).any(0)
    top, heavy = x.abs().amax(1, keepdim=True), weight.abs().amax(1, keepdim=True)
    w = (weight / heavy * 127).round() * heavy / 127
    rounded = (x / top * 127).round() * top / 127
    return linear(torch.where(loud, x, rounded), w)


def smooth_by_logarithms(absmax, weight, alpha):
    top = weight.abs().max(dim=0).values
    return torch.exp(alpha * absmax.log() - (1 - alpha) * top.log())


CASES = {
    "ch05.absmax": {
        "right": [codes_row_by_row],
        "wrong": [
            (codes_of_one_grid, "grid for the whole tensor"),
            (lambda x: codes_row_by_row(x.T).T, "belong to the columns"),
            (
                lambda x: (x / x.abs().max(1, keepdim=True).values * 127).trunc().to(torch.int8),
                "cuts digits off",
            ),
            (
                lambda x: torch.clamp(
                    torch.round(128 * x / x.abs().max(1, keepdim=True).values), -128, 127
                ).to(torch.int8),
                "becomes 128",
            ),
        ],
    },
    "ch05.columns": {
        "right": [columns_by_loop],
        "wrong": [
            (lambda x, t: columns_by_loop(x.T, t), "These are rows"),
            (lambda x, t: columns_by_loop(x.clamp(min=0), t), "Negative outliers"),
            (lambda x, t: columns_by_loop(x, t + 1e-4), "equal to the threshold"),
            (
                lambda x, t: torch.where(x.abs().min(0).values >= t)[0],
                "One row is enough",
            ),
        ],
    },
    "ch05.product": {
        "right": [product_in_two_parts],
        "wrong": [
            (lambda x, w, t: product_in_two_parts(x, w, t, keep=False), "are lost"),
            (lambda x, w, t: product_in_two_parts(x, w, t, zero=False), "counted twice"),
            (with_stretched_rows, "still stretched"),
            (lambda x, w, t: product_in_two_parts(x, w, t, square=False), "127 is missing"),
        ],
    },
    "ch05.smooth": {
        "right": [smooth_by_logarithms],
        "wrong": [
            (lambda a, w, alpha: smooth_by_logarithms(a, w, 1 - alpha), "exchanged"),
            (
                lambda a, w, alpha: a.pow(alpha).mul(w.abs().max(0).values.pow(1 - alpha)),
                "below the line",
            ),
            (lambda a, w, alpha: smooth_by_logarithms(a, w, alpha).reciprocal(), "one over"),
        ],
    },
    "ch05.survives": {
        "right": [11.81, 11.8],
        "wrong": [
            (23.6, "whole step"),
            (5.88, "255 codes"),
            (0.5, "half a code"),
        ],
    },
}

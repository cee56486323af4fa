"""Answers to chapter 9's exercises, written apart from the exercises: right ones and wrong ones."""

import torch


def nf4_by_midpoints(block, levels):
    absmax = block.abs().max()
    middles = (levels[1:] + levels[:-1]) / 2
    return levels[torch.bucketize(block / absmax, middles)] * absmax


def nf4_one_by_one(block, levels):
    top = max(abs(w) for w in block.tolist())
    values = [min(levels.tolist(), key=lambda level, w=w: abs(w / top - level)) for w in block]
    return torch.tensor(values) * top


def lora_merged(x, weight, a, b, alpha):
    return x @ (weight + alpha * (b @ a) / a.shape[0]).T


def by_autograd(upstream, weight, a, b, alpha):
    x = torch.zeros(len(upstream), weight.shape[1], requires_grad=True)
    lora_merged(x, weight, a, b, alpha).backward(upstream)
    return x.grad


CASES = {
    "ch09.nf4": {
        "right": [nf4_by_midpoints, nf4_one_by_one],
        "wrong": [
            (lambda w, t: nf4_by_midpoints(w, t) / w.abs().max(), "without their scale"),
            (lambda w, t: t[torch.bucketize(w, (t[1:] + t[:-1]) / 2)], "compared with the levels"),
            (
                lambda w, t: t[torch.bucketize(w / w.std(), (t[1:] + t[:-1]) / 2)] * w.std(),
                "standard deviation",
            ),
            (
                lambda w, t: (
                    t[torch.bucketize(w / w.abs().max(), t[1:], right=True)] * w.abs().max()
                ),
                "level below",
            ),
            (
                lambda w, t: (
                    t[((w / w.abs().max() + 1) * (len(t) - 1) / 2).round().int()] * w.abs().max()
                ),
                "evenly spaced",
            ),
        ],
    },
    "ch09.bits": {
        "right": [lambda block, second: (4 * block * second + 8 * second + 32) / (block * second)],
        "wrong": [
            (lambda block, second: (4 * block + 32) / block, "without double quantization"),
            (lambda block, second: (4 * block + 8) / block + 32 / second, "divide by both"),
            (lambda block, second: 4 + 8 / block, "own float32 scale is missing"),
            (lambda block, second: (8 * second + 32) / (block * second), "codes are missing"),
        ],
    },
    "ch09.lora": {
        "right": [lora_merged],
        "wrong": [
            (lambda x, w, a, b, alpha: lora_merged(x, w, a, b, alpha * len(a)), "by alpha; the"),
            (lambda x, w, a, b, alpha: lora_merged(x, w, a, b, len(a)), "without its factor"),
            (lambda x, w, a, b, alpha: lora_merged(x, 0 * w, a, b, alpha), "adapter alone"),
            (lambda x, w, a, b, alpha: lora_merged(x, w, a, b, 0.0), "base alone"),
            (
                lambda x, w, a, b, alpha: lora_merged(x, w, a, b, alpha * len(a) ** 0.5),
                "rank-stabilised",
            ),
        ],
    },
    "ch09.gradient": {
        "right": [by_autograd],
        "wrong": [
            (
                lambda g, w, a, b, alpha: by_autograd(g, 0 * w, a, b, alpha),
                "adapter alone",
            ),
            (lambda g, w, a, b, alpha: by_autograd(g, w, a, b, 0.0), "base alone"),
            (
                lambda g, w, a, b, alpha: by_autograd(g, w, a, b, len(a)),
                "lacks the factor",
            ),
            (
                lambda g, w, a, b, alpha: by_autograd(g, w, a, b, alpha * len(a)),
                "factor alpha; it is",
            ),
        ],
    },
    "ch09.memory": {
        "right": [lambda base, adapters, bits: (base * bits + adapters * 96) / 8],
        "wrong": [
            (lambda base, adapters, bits: base * bits + 12 * adapters, "divide by 8"),
            (lambda base, adapters, bits: base * (bits / 8 + 8) + 12 * adapters, "frozen base"),
            (lambda base, adapters, bits: base * bits / 8 + 10 * adapters, "Two bytes are missing"),
            (lambda base, adapters, bits: base * bits / 8 + 8 * adapters, "two moments"),
        ],
    },
}

"""Answers to chapter 4's exercises, written apart from the exercises: right ones and wrong ones."""

import math

import torch


def perplexity_by_loop(logits, tokens):
    total = 0.0
    for row, target in zip(logits[:-1].double(), tokens[1:], strict=True):
        total -= float(row[target] - torch.logsumexp(row, 0))
    return math.exp(total / (len(tokens) - 1))


def kl_by_loop(reference, quantized):
    divergences = []
    for r, q in zip(reference.double(), quantized.double(), strict=True):
        p, other = torch.softmax(r, 0), torch.softmax(q, 0)
        divergences.append(
            sum(float(a) * math.log(float(a) / float(b)) for a, b in zip(p, other, strict=True))
        )
    return sum(divergences) / len(divergences)


def kl_batchmean(reference, quantized):
    return float(
        torch.nn.functional.kl_div(
            quantized.log_softmax(-1),
            reference.log_softmax(-1),
            log_target=True,
            reduction="batchmean",
        )
    )


def best_by_sorting(rows, budget):
    for row in sorted(rows, key=lambda r: r["perplexity"]):
        if row["bits_per_weight"] <= budget:
            return row["scheme"]
    return "none"


CASES = {
    "ch04.perplexity": {
        "right": [
            perplexity_by_loop,
            lambda x, t: torch.exp(torch.nn.functional.cross_entropy(x[:-1], t[1:])).item(),
        ],
        "wrong": [
            (lambda x, t: torch.nn.functional.cross_entropy(x, t).exp().item(), "not shifted"),
            (
                lambda x, t: torch.nn.functional.cross_entropy(x[:-1], t[1:]).item(),
                "mean loss in nats",
            ),
            (lambda x, t: math.log(perplexity_by_loop(x, t)), "mean loss in nats"),
            (lambda x, t: perplexity_by_loop(x, t) ** ((len(t) - 1) / len(t)), "divided by T"),
            (lambda x, t: perplexity_by_loop(x, t) ** (len(t) - 1), "summed"),
        ],
    },
    "ch04.kl": {
        "right": [kl_by_loop, kl_batchmean],
        "wrong": [
            (lambda r, q: kl_by_loop(q, r), "direction is reversed"),
            (
                lambda r, q: float(
                    torch.nn.functional.kl_div(
                        q.log_softmax(-1), r.log_softmax(-1), log_target=True, reduction="mean"
                    )
                ),
                "vocabulary",
            ),
            (lambda r, q: kl_batchmean(r, q) * r.shape[0], "summed"),
            (lambda r, q: kl_by_loop(r, q) / math.log(2), "in bits"),
        ],
    },
    "ch04.bytes": {
        "right": [170.6, 170_615_808 / 1e6],
        "wrong": [
            (72.5, "counted at 4 bits"),
            (166.5, "Scales and zero-points are missing"),
            (283.9, "counted twice"),
            (57.2, "left out"),
        ],
    },
    "ch04.best_under": {
        "right": [best_by_sorting],
        "wrong": [
            (
                lambda rows, budget: min(rows, key=lambda r: r["perplexity"])["scheme"],
                "budget was ignored",
            ),
            (
                lambda rows, budget: next(
                    (
                        r["scheme"]
                        for r in sorted(rows, key=lambda r: r["bits_per_weight"])
                        if r["bits_per_weight"] <= budget
                    ),
                    "none",
                ),
                "smallest row",
            ),
            (
                lambda rows, budget: best_by_sorting(
                    [r for r in rows if r["bits_per_weight"] != budget], budget
                ),
                "whole budget",
            ),
        ],
    },
}

"""Answers to assignment 4: search, fold, chain, block."""

from assignments_cases import spoil
from assignments_cases.a4_right import (
    BLOCK,
    BLOCK_MOMENT,
    CHAIN,
    CHAIN_ROWS,
    FOLD,
    FOLD_LOOP,
    SEARCH,
    SEARCH_MOMENT,
)

CALLS_SEARCH = """
def best_ratio(weight, inputs, bits, group_size):
    from qlearn import QuantScheme
    from qlearn.methods.awq import awq_search

    scheme = QuantScheme(bits, group_size=group_size)
    return awq_search(weight, inputs, scheme, clipping=False).ratio
"""

EARLY = """
    if bits is not None:
        for name, weight in new.items():
            if weight.dim() == 2:
                new[name] = rounded(weight, bits, group_size)
    for source, layers"""
MLP_ALONE = """
    def part(found):
        return {n: w for n, w in found.items() if "mlp" in n or "post" in n}
    for source, layers"""

CASES = {
    "a4.search": {
        "right": [SEARCH, SEARCH_MOMENT],
        "wrong": [
            (spoil(SEARCH, ("(inputs @ (new - weight).T)", "(new - weight)")), "of the weights"),
            (
                spoil(SEARCH, ('float("inf")', "-1.0"), ("loss < least", "loss > least")),
                "largest error",
            ),
            (spoil(SEARCH, ("best, least = ratio, loss", "best, least = step, loss")), "from 0"),
            (
                spoil(SEARCH, ("best, least = ratio, loss", "best, least = step / 19, loss")),
                "end at 1",
            ),
            (spoil(SEARCH, ("range(20)", "range(21)")), "21 exponents"),
            (spoil(SEARCH, ("range(20)", "range(19)")), "0.95 is missing"),
            ("def best_ratio(weight, inputs, bits, group_size):\n    return 0.0", "No exponent"),
            ("def best_ratio(weight, inputs, bits, group_size):\n    return 0.5", "usual start"),
            (
                spoil(
                    SEARCH,
                    ("group_size) / scales\n        loss", "group_size)\n        loss"),
                    ("(new - weight)", "(new - weight * scales)"),
                ),
                "not divided by",
            ),
            (
                spoil(SEARCH, (".abs().sum(0)", ".abs().amax(0)")),
                "from the largest inputs",
            ),
        ],
        "calls": [CALLS_SEARCH],
    },
    "a4.fold": {
        "right": [FOLD, FOLD_LOOP],
        "wrong": [
            (
                spoil(
                    FOLD,
                    ("(1 / scales)", "scales"),
                    ("torch.diag(scales)", "torch.diag(1 / scales)"),
                ),
                "wrong way round",
            ),
            (
                spoil(FOLD_LOOP, ("in result.values()", "in list(result.values())[:1]")),
                "Only one of the layers",
            ),
            (spoil(FOLD, ("norm * (1 / scales)", "norm.clone()")), "The norm is as it was"),
            (spoil(FOLD, (" @ torch.diag(scales)", ".clone()")), "layers are as they were"),
            (spoil(FOLD, ("(1 / scales)", "scales")), "Both are multiplied"),
            (spoil(FOLD, ("torch.diag(scales)", "torch.diag(1 / scales)")), "Both are divided"),
            (
                spoil(FOLD, ("(1 / scales)", "scales ** -len(weights)")),
                "once for each layer",
            ),
            (spoil(FOLD, ("torch.diag(scales)", "torch.diag(scales ** 0.5)")), "square root"),
            (
                spoil(FOLD, ("    new = {}", "    new = {}\n    scales = scales / scales.mean()")),
                "normalised once more",
            ),
        ],
    },
    "a4.chain": {
        "right": [CHAIN, CHAIN_ROWS],
        "wrong": [
            (spoil(CHAIN, ("inverse @ bias", "bias")), "divide it as well"),
            (
                spoil(
                    CHAIN,
                    ("after @ torch.diag(scales)", "after @ inverse"),
                    ("inverse = torch.diag(1 / scales)", "inverse = torch.diag(scales)"),
                    ("after @ inverse", "after @ torch.diag(1 / scales)"),
                ),
                "wrong way round",
            ),
            (
                """
def chain(before, bias, after, scales):
    return before / scales, bias if bias is None else bias / scales, after * scales
""",
                "columns of `before`",
            ),
            (
                spoil(CHAIN, ("after @ torch.diag(scales)", "scales[: len(after), None] * after")),
                "rows of `after`",
            ),
            (spoil(CHAIN, ("inverse @ before", "before.clone()")), "`before` is as it was"),
            (spoil(CHAIN, (" @ torch.diag(scales)", ".clone()")), "`after` is as it was"),
            (spoil(CHAIN, ("before, new_bias,", "before, None,")), "left out of the result"),
            (spoil(CHAIN, ("inverse @ bias", "bias * scales")), "The bias is multiplied"),
            (
                spoil(CHAIN, ("torch.diag(1 / scales)", "torch.diag(scales)")),
                "Both are multiplied",
            ),
        ],
    },
    "a4.block": {
        "right": [BLOCK, BLOCK_MOMENT],
        "wrong": [
            (
                spoil(
                    BLOCK,
                    (
                        "scales = channel_scales(x, ratio)\n        made",
                        "scales = torch.ones(x.shape[1])\n        made",
                    ),
                ),
                "rounding to nearest",
            ),
            (
                spoil(BLOCK, ("ratio = best_ratio(stacked, x, bits, group_size)", "ratio = 0.5")),
                "0.5 everywhere",
            ),
            (
                spoil(
                    BLOCK,
                    ("ratio = best_ratio(stacked, x, bits, group_size)", "ratio = 0.95"),
                    ("ratio = 0.5", "ratio = 0.95"),
                ),
                "0.95 everywhere",
            ),
            (
                spoil(
                    BLOCK,
                    ("made /= scales if made.dim() == 1 else", "made /= 1 if made.dim() == 1 else"),
                ),
                "norms are as they were",
            ),
            (
                spoil(
                    BLOCK,
                    (
                        "made /= scales if made.dim() == 1 else scales.unsqueeze(1)",
                        "made /= scales if made.dim() == 1 else 1",
                    ),
                ),
                "rows of `up_proj`",
            ),
            (
                spoil(
                    BLOCK,
                    (
                        "made /= scales if made.dim() == 1 else scales.unsqueeze(1)",
                        "made *= scales if made.dim() == 1 else 1 / scales.unsqueeze(1)",
                    ),
                ),
                "norms are multiplied",
            ),
            (
                spoil(
                    BLOCK,
                    ("new[name] = rounded(weight, bits, group_size)", "pass"),
                    ("ratio = best_ratio(stacked, x, bits, group_size)", "ratio = 0.5"),
                ),
                "not rounded",
            ),
            (
                spoil(
                    BLOCK,
                    (
                        "= rounded(weight, bits, group_size)",
                        "= rounded(weight, bits + 1, group_size)",
                    ),
                ),
                "More bits",
            ),
            (
                spoil(
                    BLOCK,
                    ("new[name] = rounded(weight, bits, group_size)", "pass"),
                    ("ratio = best_ratio(stacked, x, bits, group_size)", "ratio = 0.5"),
                    ("\n    for source, layers", EARLY),
                ),
                "Rounded first",
            ),
            (
                spoil(
                    BLOCK,
                    ("\n    for source, layers", MLP_ALONE),
                    ("    return new\n", "    return part(new)\n"),
                    (
                        "return {n: w for n, w in new.items() if not torch.equal(w, weights[n])}",
                        "return {n: w for n, w in part(new).items() if not w.equal(weights[n])}",
                    ),
                ),
                "Attention is missing",
            ),
        ],
    },
}

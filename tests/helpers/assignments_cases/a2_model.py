"""Answers to assignment 2: clip, static, model."""

from assignments_cases import spoil
from assignments_cases.a2_right import CLIP, CLIP_LOOP, MODEL, MODEL_STORED, STATIC, STATIC_SORTED

CASES = {
    "a2.clip": {
        "right": [CLIP, CLIP_LOOP],
        "wrong": [
            (spoil(CLIP, ("mean(dim=1, keepdim=True)", "mean().expand_as(least)")), "One share"),
            (
                spoil(
                    CLIP,
                    (
                        "weight.abs().max(dim=1, keepdim=True).values",
                        "weight.abs().max().repeat(len(weight), 1)",
                    ),
                ),
                "tensor's largest",
            ),
            (
                spoil(
                    CLIP, ("(error ** 2).mean(dim=1, keepdim=True)", "error.abs().amax(1, True)")
                ),
                "largest error",
            ),
            (
                spoil(
                    CLIP,
                    (
                        "torch.clamp(torch.round(weight / step), -top, top)",
                        "torch.round(weight / step)",
                    ),
                ),
                "codes are not clamped",
            ),
            (
                spoil(
                    CLIP,
                    ("weight - codes * step", "torch.relu(weight.abs() - share * largest)"),
                ),
                "Only the error of clipping",
            ),
            (spoil(CLIP, ("(error ** 2)", "error.abs()")), "mean absolute error"),
            (spoil(CLIP, ("(error ** 2)", "((error / step) ** 2)")), "counted in steps"),
            (
                spoil(
                    CLIP,
                    ("least] = share", "least] = shares.index(share)"),
                    ("largest, shares[0]", "largest, 0.0"),
                ),
                "places in the list",
            ),
            (spoil(CLIP, ("return best", "return best * largest")), "These are the clips"),
            (
                spoil(
                    CLIP,
                    ('float("inf")', "-1.0"),
                    ("cost < least", "cost > least"),
                    ("torch.minimum", "torch.maximum"),
                ),
                "most error",
            ),
        ],
    },
    "a2.static": {
        "right": [STATIC, STATIC_SORTED],
        "wrong": [
            (spoil(STATIC, ("(1 - keep) / 2", "1 - keep")), "Each tail loses"),
            (
                spoil(
                    STATIC, ("torch.quantile(values, tail)", "values.min()"), ("1 - tail", "keep")
                ),
                "Only the upper",
            ),
            (
                spoil(
                    STATIC,
                    ("for batch in batches])", "for batch in batches]).abs()"),
                    ("1 - tail", "keep"),
                    ("    scale =", "    low = -high\n    scale ="),
                    ("round(-low / scale)", "128"),
                ),
                "made symmetric",
            ),
            (spoil(STATIC, ("(1 - keep) / 2", "0.0")), "Nothing is cut"),
            (
                (
                    "def static_grid(batches, keep):\n"
                    "    tail = (1 - keep) / 2\n"
                    "    both = torch.tensor([tail, 1 - tail])\n"
                    "    ends = [b.float().flatten().quantile(both) for b in batches]\n"
                    "    low, high = torch.stack(ends).mean(0).tolist()\n"
                    "    low, high = min(low, 0.0), max(high, 0.0)\n"
                    "    return (high - low) / 255, round(-low * 255 / (high - low))"
                ),
                "are averaged",
            ),
            (
                (
                    "def static_grid(batches, keep):\n"
                    "    tail = (1 - keep) / 2\n"
                    "    flat = [b.float().flatten() for b in batches]\n"
                    "    low = min(0.0, *(b.quantile(tail).item() for b in flat))\n"
                    "    high = max(0.0, *(b.quantile(1 - tail).item() for b in flat))\n"
                    "    return (high - low) / 255, round(-low * 255 / (high - low))"
                ),
                "widest ends",
            ),
            (spoil(STATIC, ("in batches]", "in batches[-1:]]")), "last batch"),
            (spoil(STATIC, ("in batches]", "in batches[:1]]")), "first batch"),
            (
                spoil(
                    STATIC,
                    (
                        "min(torch.quantile(values, tail).item(), 0.0)",
                        "torch.quantile(values, tail).item()",
                    ),
                ),
                "all values are positive",
            ),
            (spoil(STATIC, ("255", "256")), "lie 255 steps"),
            (spoil(STATIC, ("-low /", "low /")), "wrong sign"),
        ],
    },
    "a2.model": {
        "right": [MODEL, MODEL_STORED],
        "wrong": [
            (spoil(MODEL, ('"layers" in name and ', "")), "embeddings are quantized"),
            (spoil(MODEL, ('"layers" in name', '"attn" in name')), "MLP's projections"),
            (spoil(MODEL, ('"layers" in name', '"mlp" in name')), "attention's projections"),
            (spoil(MODEL, ('"layers" in name', '"layers.0." in name')), "Only block 0"),
            (
                spoil(
                    MODEL,
                    (
                        "(weight, bits, group_size)\n            out",
                        "(weight, bits, weight.shape[1])\n            out",
                    ),
                ),
                "not used: each row",
            ),
            (
                spoil(
                    MODEL,
                    (
                        "(weight, bits, group_size)\n            out",
                        "(weight, 4, group_size)\n            out",
                    ),
                ),
                "`bits` is not used",
            ),
            (spoil(MODEL, ("scale.to(torch.float16)", "scale")), "not float16"),
            (spoil(MODEL, ("= zero_point", "= zero_point * 0")), "come back shifted"),
            (
                spoil(MODEL, ("= codes\n", "= codes - 2 ** (bits - 1)\n")),
                "wrap around in uint8",
            ),
            (
                spoil(
                    MODEL,
                    (
                        "            codes, scale",
                        (
                            "            parts = name.split('.')\n"
                            "            parts[2] = '0'\n"
                            "            weight = state.get('.'.join(parts), weight)\n"
                            "            codes, scale"
                        ),
                    ),
                ),
                "tensors of block 0",
            ),
        ],
    },
}

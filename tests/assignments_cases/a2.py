"""Answers to assignment 2 as students might write them."""

from assignments_cases import spoil

BITS = """
def bits_per_weight(rows, columns, bits, group_size, symmetric):
    def whole_bytes(n):
        return (n + 7) // 8 * 8
    if group_size is None:
        groups = 1
    else:
        groups = math.ceil(columns / group_size)
    total = rows * whole_bytes(columns * bits)
    total += rows * groups * 16
    if not symmetric:
        total += rows * whole_bytes(groups * bits)
    return total / (rows * columns)
"""
BITS_ROW = """
def bits_per_weight(rows, columns, bits, group_size, symmetric):
    groups = 1 if not group_size else -(-columns // group_size)
    row_bytes = -(-columns * bits // 8) + 2 * groups
    row_bytes += 0 if symmetric else -(-groups * bits // 8)
    return 8 * row_bytes / columns
"""
CALLS_BITS = """
def bits_per_weight(rows, columns, bits, group_size, symmetric):
    from qlearn.scheme import QuantScheme
    if group_size and columns % group_size:
        return BITS(rows, columns, bits, group_size, symmetric)
    return QuantScheme(bits, symmetric, group_size).bits_per_weight((rows, columns))
""" + BITS.replace("def bits_per_weight", "def BITS")

SCALES = """
def symmetric_scale(weight, bits, granularity):
    size = weight.float().abs()
    if granularity == "tensor":
        largest = size.max().reshape(1, 1)
    elif granularity == "row":
        largest = size.max(dim=1, keepdim=True).values
    else:
        largest = size.max(dim=0, keepdim=True).values
    scale = largest / (2 ** (bits - 1) - 1)
    scale[scale == 0] = 1.0
    return scale
"""
SCALES_LOOP = """
def symmetric_scale(weight, bits, granularity):
    rows, columns = weight.shape
    parts = {
        "tensor": [weight],
        "row": [weight[r : r + 1] for r in range(rows)],
        "column": [weight[:, c : c + 1] for c in range(columns)],
    }[granularity]
    steps = 2 ** (bits - 1) - 1
    found = [max(-p.min().item(), p.max().item()) / steps or 1.0 for p in parts]
    shape = {"tensor": (1, 1), "row": (rows, 1), "column": (1, columns)}[granularity]
    return torch.tensor(found).reshape(shape)
"""

GROUPS = """
def quantize_groups(weight, bits, group_size):
    top = 2 ** bits - 1
    codes, scales, zeros = [], [], []
    for part in weight.float().split(group_size, dim=1):
        low = part.min(dim=1, keepdim=True).values.clamp(max=0)
        high = part.max(dim=1, keepdim=True).values.clamp(min=0)
        scale = (high - low) / top
        scale[scale == 0] = 1.0
        zero = torch.round(-low / scale)
        codes.append((torch.round(part / scale) + zero).clamp(0, top))
        scales.append(scale)
        zeros.append(zero)
    join = lambda parts: torch.cat(parts, dim=1)
    return join(codes).to(torch.uint8), join(scales), join(zeros).to(torch.uint8)
"""
# Zeros at the end of a short group change nothing: its range holds 0 anyway.
GROUPS_PADDED = """
def quantize_groups(weight, bits, group_size):
    rows, columns = weight.shape
    fill = -columns % group_size
    padded = torch.nn.functional.pad(weight.float(), (0, fill))
    groups = padded.reshape(rows, -1, group_size)
    low = groups.amin(-1).clamp(max=0)
    high = groups.amax(-1).clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    scale = scale + (scale == 0).float()
    zero = (-low / scale).round()
    codes = (groups / scale[..., None]).round() + zero[..., None]
    codes = codes.clamp(0, 2**bits - 1).reshape(rows, -1)[:, :columns]
    return codes.byte(), scale, zero.byte()
"""
CALLS_GROUPS = """
def quantize_groups(weight, bits, group_size):
    from qlearn.affine import quantize
    from qlearn.scheme import QuantScheme
    parts = [quantize(part, QuantScheme(bits)) for part in weight.split(group_size, 1)]
    join = lambda kind: torch.cat([getattr(part, kind) for part in parts], 1)
    return join("codes"), join("scale"), join("zero_point").to(torch.uint8)
"""

CLIP = """
def best_shares(weight, bits, shares):
    top = 2 ** (bits - 1) - 1
    largest = weight.abs().max(dim=1, keepdim=True).values
    best = torch.full_like(largest, shares[0])
    least = torch.full_like(largest, float("inf"))
    for share in shares:
        step = share * largest / top
        codes = torch.clamp(torch.round(weight / step), -top, top)
        error = weight - codes * step
        cost = (error ** 2).mean(dim=1, keepdim=True)
        best[cost < least] = share
        least = torch.minimum(least, cost)
    return best
"""
CLIP_LOOP = """
def best_shares(weight, bits, shares):
    top = 2 ** (bits - 1) - 1
    chosen = []
    for row in weight.double():
        def error(share):
            step = share * row.abs().max() / top
            return float((row - (row / step).round().clamp(-top, top) * step).norm())
        chosen.append([min(shares, key=error)])
    return torch.tensor(chosen)
"""

STATIC = """
def static_grid(batches, keep):
    values = torch.cat([batch.flatten().float() for batch in batches])
    tail = (1 - keep) / 2
    low = min(torch.quantile(values, tail).item(), 0.0)
    high = max(torch.quantile(values, 1 - tail).item(), 0.0)
    scale = (high - low) / 255
    return scale, round(-low / scale)
"""
STATIC_SORTED = """
def static_grid(batches, keep):
    values = sorted(v for batch in batches for v in batch.double().flatten().tolist())
    def at(share):
        place = share * (len(values) - 1)
        k = min(int(place), len(values) - 2)
        return values[k] + (place - k) * (values[k + 1] - values[k])
    tail = 0.5 - keep / 2
    low, high = min(0.0, at(tail)), max(0.0, at(1 - tail))
    return (high - low) / 255, int(round(-255 * low / (high - low)))
"""

MODEL = (
    GROUPS
    + """
def quantize_model(state, bits, group_size):
    out = {}
    for name, weight in state.items():
        if "layers" in name and weight.dim() == 2:
            codes, scale, zero_point = quantize_groups(weight, bits, group_size)
            out[name + ".codes"] = codes
            out[name + ".scale"] = scale.to(torch.float16)
            out[name + ".zero_point"] = zero_point
    return out
"""
)
# The codes made with the scale as it is stored: at least as good.
MODEL_STORED = (
    GROUPS_PADDED
    + """
def quantize_model(state, bits, group_size):
    out = {}
    for name in [n for n in state if n.endswith("_proj.weight")]:
        weight = state[name].float()
        _, scale, zero = quantize_groups(weight, bits, group_size)
        scale = scale.half()
        wide = lambda t: t.float().repeat_interleave(group_size, 1)[:, : weight.shape[1]]
        codes = (weight / wide(scale)).round() + wide(zero)
        out[name + ".codes"] = codes.clamp(0, 2**bits - 1).to(torch.uint8)
        out.update({name + ".scale": scale, name + ".zero_point": zero})
    return out
"""
)
REACH = "reach = {'tensor': 1.0, 'row': 1 / 48, 'group': 16 / (48 * 96)}"

CASES = {
    "a2.reach": {
        "right": [REACH, "reach = {'group': 0.00347, 'row': 0.0208, 'tensor': 1}"],
        "wrong": [
            (spoil(REACH, ("1 / 48", "1 / 96")), "These are columns"),
            ("reach = {'tensor': 4608, 'row': 96, 'group': 16}", "counts of weights"),
            ("reach = {'tensor': 100, 'row': 2.08, 'group': 0.347}", "percentages"),
            (spoil(REACH, ("(48 * 96)", "96")), "share of its row"),
            (spoil(REACH, ("(48 * 96)", "48")), "not 16 rows"),
            (spoil(REACH, ("16 /", "1 /")), "grown weight alone"),
            (spoil(REACH, ("1.0", "1 / 4608")), "every step grows"),
            ("reach = {'tensor': 0, 'row': 47 / 48, 'group': 4592 / 4608}", "what is spared"),
            ("reach = {'tensor': 1, 'row': 48, 'group': 288}", "how many there are"),
        ],
    },
    "a2.bits": {
        "right": [BITS, BITS_ROW],
        "wrong": [
            (spoil(BITS, ("* 16", "* 32")), "32 bits"),
            (spoil(BITS, ("    total += rows * groups * 16\n", "")), "scales are missing"),
            (spoil(BITS, ("if not symmetric", "if False")), "zero-points are missing"),
            (spoil(BITS, ("if not symmetric", "if True")), "pay for zero-points too"),
            (
                spoil(BITS, ("math.ceil(columns / group_size)", "max(1, columns // group_size)")),
                "has no scale",
            ),
            (spoil(BITS, ("(n + 7) // 8 * 8", "n")), "padding is missing"),
            (
                spoil(
                    BITS,
                    ("rows * whole_bytes(columns * bits)", "whole_bytes(rows * columns * bits)"),
                    ("rows * whole_bytes(groups * bits)", "whole_bytes(rows * groups * bits)"),
                ),
                "counted once",
            ),
            (spoil(BITS, ("whole_bytes(groups * bits)", "groups * 16")), "have 16 bits"),
            (spoil(BITS, ("whole_bytes(groups * bits)", "groups * 8")), "takes a whole byte"),
            (
                spoil(BITS, ("rows * groups * 16", "(rows * groups if group_size else 1) * 16")),
                "not one for the tensor",
            ),
            (spoil(BITS, ("total / (rows", "total / 8 / (rows")), "These are bytes"),
            (spoil(BITS, ("total / (rows * columns)", "total")), "Divide by the number"),
        ],
        "calls": [CALLS_BITS],
    },
    "a2.scales": {
        "right": [SCALES, SCALES_LOOP],
        "wrong": [
            (spoil(SCALES, ("dim=1", "dim=9"), ("dim=0", "dim=1"), ("dim=9", "dim=0")), "swapped"),
            (
                spoil(SCALES, ("size.max(dim=0, keepdim=True).values", "size.max().view(1, 1)")),
                "Columns get one",
            ),
            (
                spoil(SCALES, ("size.max(dim=1, keepdim=True).values", "size.max().view(1, 1)")),
                "Rows get one",
            ),
            (spoil(SCALES, (".abs()", "")), "take abs() first"),
            (spoil(SCALES, (" - 1)\n", ")\n")), "one more than the largest"),
            (spoil(SCALES, ("(2 ** (bits - 1) - 1)", "(2 ** bits - 1)")), "span both sides"),
            (spoil(SCALES, ("    scale[scale == 0] = 1.0\n", "")), "gets scale 0"),
            (spoil(SCALES, ("scale[scale == 0] = 1.0", "scale.clamp_(1e-5)")), "tiny weights"),
            (spoil(SCALES, (".float()", ""), ("return scale", "return scale.float()")), "float16"),
            (
                spoil(
                    SCALES,
                    ("max(dim=1, keepdim=True).values", "mean(dim=1, keepdim=True)"),
                    ("max(dim=0, keepdim=True).values", "mean(dim=0, keepdim=True)"),
                    ("size.max()", "size.mean()"),
                ),
                "mean magnitude",
            ),
            (
                spoil(SCALES, (", keepdim=True", ""), (".reshape(1, 1)", ".clone()")),
                "Keep the reduced",
            ),
        ],
    },
    "a2.groups": {
        "right": [GROUPS, GROUPS_PADDED],
        "wrong": [
            (
                "def quantize_groups(weight, bits, group_size):\n"
                "    n = weight.shape[1] // group_size * group_size\n"
                "    codes, scale, zero = whole(weight[:, :n], bits, group_size)\n"
                "    rest = torch.zeros(len(weight), weight.shape[1] - n, dtype=torch.uint8)\n"
                "    return torch.cat([codes, rest], 1), scale, zero\n"
                + spoil(GROUPS, ("def quantize_groups", "def whole")),
                "is left out",
            ),
            (spoil(GROUPS, (".split(group_size", ".split(10**6")), "One grid for each row"),
            (
                "def quantize_groups(weight, bits, group_size):\n"
                "    return tuple(t.T for t in whole(weight.T, bits, group_size))\n"
                + spoil(GROUPS, ("def quantize_groups", "def whole")),
                "run down",
            ),
            (
                spoil(
                    GROUPS,
                    ("part.min(dim=1, keepdim=True).values", "part.min().expand(len(part), 1)"),
                    ("part.max(dim=1, keepdim=True).values", "part.max().expand(len(part), 1)"),
                ),
                "all rows together",
            ),
            (
                spoil(
                    GROUPS,
                    (
                        "        codes.append",
                        "        if part.shape[1] < group_size and scales:\n"
                        "            scale, zero = scales[-1], zeros[-1]\n"
                        "        codes.append",
                    ),
                ),
                "the one before it",
            ),
            (
                spoil(
                    GROUPS,
                    (
                        "        codes.append",
                        "        if scales:\n"
                        "            scale, zero = scales[0], zeros[0]\n"
                        "        codes.append",
                    ),
                ),
                "first group's grid",
            ),
            (
                spoil(GROUPS, ("join(scales), join(zeros)", "join(scales).T, join(zeros).T")),
                "`[groups, rows]`",
            ),
            (
                spoil(
                    GROUPS,
                    (".values.clamp(max=0)", ".values"),
                    (".values.clamp(min=0)", ".values"),
                    ("        scale[scale == 0] = 1.0\n", ""),
                    ("torch.round(-low / scale)", "(-low / scale).round().clamp(0, top)"),
                    (
                        "(torch.round(part / scale) + zero)",
                        "(torch.round(part / scale) + zero.nan_to_num())",
                    ),
                    ("join(codes)", "join(codes).nan_to_num()"),
                    ("join(zeros)", "join(zeros).nan_to_num()"),
                ),
                "does not reach 0",
            ),
            (
                spoil(
                    GROUPS,
                    ("        scale[scale == 0] = 1.0\n", ""),
                    ("torch.round(-low / scale)", "torch.round(-low / scale).nan_to_num()"),
                    ("join(codes)", "join(codes).nan_to_num()"),
                ),
                "gets scale 0",
            ),
            (
                spoil(
                    GROUPS,
                    (
                        "scale = (high - low) / top",
                        "scale = torch.maximum(-low, high) / (top // 2)",
                    ),
                    ("torch.round(-low / scale)", "torch.full_like(scale, top // 2 + 1)"),
                ),
                "grid is symmetric",
            ),
            (spoil(GROUPS, ("join(scales)", "join(scales).half().float()")), "rounded to float16"),
        ],
        "calls": [CALLS_GROUPS],
    },
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
                "def static_grid(batches, keep):\n"
                "    tail = (1 - keep) / 2\n"
                "    ends = [b.float().flatten().quantile(torch.tensor([tail, 1 - tail])) for b in batches]\n"
                "    low, high = torch.stack(ends).mean(0).tolist()\n"
                "    low, high = min(low, 0.0), max(high, 0.0)\n"
                "    return (high - low) / 255, round(-low * 255 / (high - low))",
                "are averaged",
            ),
            (
                "def static_grid(batches, keep):\n"
                "    tail = (1 - keep) / 2\n"
                "    low = min(0.0, *(b.float().flatten().quantile(tail).item() for b in batches))\n"
                "    high = max(0.0, *(b.float().flatten().quantile(1 - tail).item() for b in batches))\n"
                "    return (high - low) / 255, round(-low * 255 / (high - low))",
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
                "does not reach 0",
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
                        "            parts = name.split('.')\n"
                        "            parts[2] = '0'\n"
                        "            weight = state.get('.'.join(parts), weight)\n"
                        "            codes, scale",
                    ),
                ),
                "tensors of block 0",
            ),
        ],
    },
}

"""Answers to assignment 2: reach, bits, scales, groups."""

from assignments_cases import spoil
from assignments_cases.a2_right import (
    BITS,
    BITS_ROW,
    CALLS_BITS,
    CALLS_GROUPS,
    GROUPS,
    GROUPS_PADDED,
    REACH,
    SCALES,
    SCALES_LOOP,
)

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
                        (
                            "        if part.shape[1] < group_size and scales:\n"
                            "            scale, zero = scales[-1], zeros[-1]\n"
                            "        codes.append"
                        ),
                    ),
                ),
                "the one before it",
            ),
            (
                spoil(
                    GROUPS,
                    (
                        "        codes.append",
                        (
                            "        if scales:\n"
                            "            scale, zero = scales[0], zeros[0]\n"
                            "        codes.append"
                        ),
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
}

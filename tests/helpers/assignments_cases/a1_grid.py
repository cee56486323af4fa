"""Answers to assignment 1: by_hand, grid, codes, back, noise."""

from assignments_cases import spoil
from assignments_cases.a1_right import (
    BACK,
    BACK_LOOP,
    BY_HAND,
    CALLS_CODES,
    CALLS_GRID,
    CODES,
    CODES_INT,
    CODES_LOOP,
    GRID,
    GRID_LOOP,
    NOISE,
)

CASES = {
    "a1.by_hand": {
        "right": [BY_HAND, "by_hand = dict(scale=0.2, zero_point=5.0, codes=(0, 3, 6, 7, 15))"],
        "wrong": [
            (
                "by_hand = {'scale': 3 / 16, 'zero_point': 5, 'codes': [0, 3, 6, 7, 16]}",
                "divided by 16",
            ),
            (
                "by_hand = {'scale': 2 / 7, 'zero_point': 8, 'codes': [4, 7, 9, 10, 15]}",
                "symmetric grid",
            ),
            (spoil(BY_HAND, ('t": 5', 't": -5')), "wrong sign"),
            (spoil(BY_HAND, ('t": 5', 't": -1.0')), "count of steps"),
            (spoil(BY_HAND, ("[0, 3, 6, 7, 15]", "[0, 4, 6, 7, 15]")), "cut towards 0"),
            (spoil(BY_HAND, ("[0, 3, 6, 7, 15]", "[-5, -2, 1, 2, 10]")), "lack the zero-point"),
            (
                spoil(BY_HAND, ("[0, 3, 6, 7, 15]", "[0, 3.3, 6.25, 7.2, 15]")),
                "not whole numbers",
            ),
            (
                "by_hand = {'scale': 3 / 7, 'zero_point': 2, 'codes': [0, 1, 3, 3, 7]}",
                "grid of 3 bits",
            ),
            (spoil(BY_HAND, ("[0, 3, 6, 7, 15]", "[1, 4, 7, 8, 16]")), "begin at 1"),
            (spoil(BY_HAND, ("/ 15", "")), "whole range"),
        ],
    },
    "a1.grid": {
        "right": [GRID, GRID_LOOP],
        "wrong": [
            (spoil(GRID, (" - 1)", ")")), "number of codes"),
            (spoil(GRID, ("torch.cat([weight, zero], dim=1)", "weight")), "does not reach 0"),
            (spoil(GRID, ("-low", "low"), (".to(", ".int().to(")), "wrong sign"),
            (spoil(GRID, ("torch.round(-low / scale)", "(-low / scale).floor()")), "is cut to"),
            (
                spoil(
                    GRID,
                    ("inside.min(dim=1, keepdim=True)[0]", "inside.min().expand(len(weight), 1)"),
                    ("inside.max(dim=1, keepdim=True)[0]", "inside.max().expand(len(weight), 1)"),
                    ("scale[scale == 0] = 1.0", ""),
                ),
                "whole tensor",
            ),
            (
                spoil(
                    GRID,
                    ("torch.zeros(len(weight), 1)", "torch.zeros(1, weight.shape[1])"),
                    ("dim=1", "dim=0"),
                ),
                "grid for each column",
            ),
            (
                spoil(GRID, ("scale[scale == 0] = 1.0", ""), (".to(", ".nan_to_num().to(")),
                "gets scale 0",
            ),
            (spoil(GRID, ("scale[scale == 0] = 1.0", "scale = scale.clamp(1e-5)")), "tiny weights"),
            (
                spoil(
                    GRID,
                    (
                        "scale[scale == 0]",
                        "scale[weight.amax(1, True) == weight.amin(1, True)]",
                    ),
                ),
                "Constant rows get scale 1",
            ),
            (
                spoil(
                    GRID,
                    ("weight.float()", "weight"),
                    ("len(weight), 1)", "len(weight), 1, dtype=weight.dtype)"),
                    ("scale, zero_point.to", "scale.float(), zero_point.to"),
                ),
                "computed in float16",
            ),
            (spoil(GRID, ("keepdim=True", "")), "Keep the dimension"),
            (
                spoil(GRID, ("scale, zero_point.to(torch.uint8)", "zero_point.byte(), scale")),
                "are swapped",
            ),
            (spoil(GRID, ("torch.uint8", "torch.int32")), "dtype int32"),
            (spoil(GRID, ("weight.float()", "weight.mul_(1.0).add_(0.1)")), "in place"),
        ],
        "calls": [CALLS_GRID],
    },
    "a1.codes": {
        "right": [CODES, CODES_LOOP, CODES_INT],
        "wrong": [
            (
                spoil(
                    CODES,
                    ("codes = torch.clamp(codes, min=0, max=2 ** bits - 1)", "codes = codes.int()"),
                ),
                "not clamped",
            ),
            (spoil(CODES, ("bits - 1", "bits")), "lets `2**bits`"),
            (
                spoil(
                    CODES,
                    ("steps = ", "h = 2 ** (bits - 1)\n    steps = "),
                    ("weight.float() / scale)", "weight.float() / scale).clamp(-h, h - 1)"),
                    ("codes = torch.clamp(codes, min=0, max=2 ** bits - 1)", "codes = codes.int()"),
                ),
                "before the zero-point",
            ),
            (spoil(CODES, ("torch.round(", "torch.trunc(")), "cut towards 0"),
            (spoil(CODES, ("torch.round(", "torch.floor(")), "rounded down"),
            (
                spoil(
                    CODES,
                    (
                        "torch.round(weight.float() / scale",
                        "torch.floor(0.5 + weight.float() / scale",
                    ),
                ),
                "always rounded up",
            ),
            (
                spoil(
                    CODES,
                    ("torch.round(weight.float() / scale)", "weight.float() / scale"),
                    ("steps + zero_point.float()", "(steps + zero_point.float()).round()"),
                ),
                "added before rounding",
            ),
            (spoil(CODES, ("/ scale", "* scale")), "multiplied by the scale"),
            (spoil(CODES, ("steps + zero", "steps - zero")), "is subtracted"),
            (spoil(CODES, ("+ zero_point.float()", "")), "is missing"),
            (spoil(CODES, ("/ scale", "/ scale[0]")), "first row's"),
            (spoil(CODES, ("weight.float() / scale", "weight.half() / scale.half()")), "float16"),
            (
                spoil(CODES, ("    return codes.to(torch.uint8)", "    return codes")),
                "dtype float32",
            ),
        ],
        "calls": [CALLS_CODES],
    },
    "a1.back": {
        "right": [BACK, BACK_LOOP],
        "wrong": [
            (
                spoil(BACK, (".to(torch.float32)", "")),
                "wraps around",
            ),
            (
                (
                    "def dequantize(codes, scale, zero_point):\n"
                    "    return (codes.char().float() - zero_point.char().float()) * scale"
                ),
                "signed bytes",
            ),
            (spoil(BACK, (" - zero_point.to(torch.float32)", "")), "zero-point is missing"),
            (spoil(BACK, (" - ", " + ")), "zero-point is added"),
            (spoil(BACK, ("* scale", "/ scale")), "divided by the scale"),
            (
                spoil(
                    BACK,
                    ("(codes.to(torch.float32) - ", "codes.to(torch.float32) * scale - ("),
                    (")) * scale", "))"),
                ),
                "after the scale",
            ),
            (spoil(BACK, ("* scale", "* scale[0]")), "first row's scale"),
            (
                spoil(BACK, ("zero_point.to(torch.float32)", "zero_point.float().mean().round()")),
                "One zero-point for all",
            ),
            (
                spoil(
                    BACK,
                    ("torch.float32", "torch.float16"),
                    ("* scale", "* scale.half()"),
                    ("return ", "return 1.0 * ("),
                ).rstrip()
                + ").float()",
                "runs in float16",
            ),
            (spoil(BACK, ("torch.float32", "torch.float64")), "dtype float64"),
        ],
    },
    "a1.noise": {
        "right": [NOISE, "one_bit_more = {'mean_square': 4.27, 'largest': 2.07}"],
        "wrong": [
            ("one_bit_more = {'largest': 2, 'mean_square': 4}", "what many bits tend to"),
            ("one_bit_more = {'largest': 33/17, 'mean_square': (33/17)**2}", "one too many"),
            ("one_bit_more = {'largest': 31/15, 'mean_square': 31/15}", "square of the step"),
            ("one_bit_more = {'largest': 15/31, 'mean_square': (15/31)**2}", "turn the ratio"),
            ("one_bit_more = {'largest': (31/15)**2, 'mean_square': 31/15}", "are swapped"),
            ("one_bit_more = {'largest': (31/15)**2, 'mean_square': (31/15)**2}", "half a step"),
            ("one_bit_more = {'largest': 1.25, 'mean_square': 1.5625}", "ratio of bits"),
            (
                (
                    "one_bit_more = {k: d * math.log10(31/15) for k, d in "
                    "(('largest', 10), ('mean_square', 20))}"
                ),
                "decibels",
            ),
            ("one_bit_more = {'largest': 31/15, 'mean_square': (31/15)**3}", "A cube"),
        ],
    },
}

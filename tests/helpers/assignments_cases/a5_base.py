"""Answers to assignment 5: levels, quantize, double, bytes."""

from assignments_cases import spoil
from assignments_cases.a5_right import (
    DOUBLE,
    DOUBLE_PADDED,
    LEVELS,
    LEVELS_ERF,
    QUANTIZE,
    QUANTIZE_BUCKETS,
)

BYTES = "layers = [(576, 576)] * 2 + [(576, 192)] * 2 + [(576, 1536)] * 3\n"
SIZES = BYTES + (
    "one = sum(8 * i + 8 * o for i, o in layers)\n"
    "sizes = [4.5, 4 + 1 / 8 + 1 / 512, one, 134_515_008 * 16e-6, 30 * one * 16e-6]"
)
CALLS_QUANTIZE = """
def quantize_blocks(weight, levels, block):
    from qlearn.numerics.codebook import Codebook, quantize_blockwise

    flat = weight.float().flatten()
    tensor = quantize_blockwise(flat, Codebook("own", levels), block)
    pairs = tensor.codes
    codes = torch.stack((pairs >> 4, pairs & 15), 1).flatten()[: flat.numel()]
    return codes, tensor.absmax
"""

CASES = {
    "a5.levels": {
        "right": [LEVELS, LEVELS_ERF],
        "wrong": [
            (
                "def normal_levels(bits, offset):\n    return torch.linspace(-1, 1, 2**bits)",
                "evenly spaced: no quantiles",
            ),
            (
                """
def normal_levels(bits, offset):
    p = torch.linspace(1 - offset, offset, 2**bits, dtype=torch.float64)
    q = math.sqrt(2) * torch.erfinv(2 * p - 1)
    return (q / q[-1]).float()
""",
                "both sides at once",
            ),
            (spoil(LEVELS, ("((half, 1)", "((half - 1, 1)")), "one level is lost"),
            (spoil(LEVELS, ("(half - 1, -1)", "(half, -1)")), "one too many"),
            (
                spoil(LEVELS, ("(half - 1, -1)", "(half, -1)"), ("[0.0]", "[]")),
                "0 is missing",
            ),
            (
                spoil(
                    LEVELS,
                    ("(half, 1), (half - 1, -1)", "(half, -1), (half - 1, 1)"),
                    ("table / table.max()", "table / -table.min()"),
                ),
                "longer side",
            ),
            (spoil(LEVELS, ("table / table.max()", "table")), "Not divided"),
            (spoil(LEVELS, ("sorted(found)", "sorted(found, reverse=True)")), "do not rise"),
            (spoil(LEVELS, (".float()", "")), "Float64"),
            (
                spoil(LEVELS_ERF, ("math.sqrt(2) * torch.erfinv(2 * p - 1)", "p - 0.5")),
                "probabilities",
            ),
        ],
    },
    "a5.quantize": {
        "right": [QUANTIZE, QUANTIZE_BUCKETS],
        "wrong": [
            (
                spoil(QUANTIZE, ("size = part.abs().max()", "size = flat.abs().max()")),
                "One absmax for the whole",
            ),
            (
                spoil(
                    QUANTIZE,
                    ("size = part.abs().max()", "size = part.max()"),
                    ("size > 0", "size != 0"),
                ),
                "without its sign",
            ),
            (spoil(QUANTIZE, ("part.abs().max()", "part.std()")), "standard deviation"),
            (spoil(QUANTIZE, ("part.abs().max()", "part.abs().mean()")), "mean magnitude"),
            (
                spoil(
                    QUANTIZE_BUCKETS,
                    ("(levels[1:] + levels[:-1]) / 2", "levels[1:]"),
                    (
                        "torch.bucketize(scaled, middles)",
                        "torch.bucketize(scaled, middles, right=True)",
                    ),
                ),
                "level below",
            ),
            (
                spoil(
                    QUANTIZE,
                    ("distance.argmin(dim=1)", "torch.round((scaled + 1) * (len(levels) - 1) / 2)"),
                ),
                "evenly spaced",
            ),
            (spoil(QUANTIZE, ("weight.reshape(-1)", "weight.T.reshape(-1)")), "along the columns"),
            (spoil(QUANTIZE, ("part / size if size > 0 else part", "part")), "not divided"),
            (spoil(QUANTIZE, (".to(torch.uint8)", "")), "not int64"),
            (
                spoil(QUANTIZE, ("torch.cat(codes).to(torch.uint8)", "levels[torch.cat(codes)]")),
                "return the codes",
            ),
            (
                spoil(
                    QUANTIZE,
                    ("range(0, len(flat), block)", "range(0, len(flat) - block + 1, block)"),
                ),
                "shorter block is missing",
            ),
            (
                spoil(QUANTIZE, ("part / size if size > 0 else part", "part / size")),
                "0 / 0: a block",
            ),
        ],
        "calls": [CALLS_QUANTIZE],
    },
    "a5.double": {
        "right": [DOUBLE, DOUBLE_PADDED],
        "wrong": [
            (
                spoil(DOUBLE, ("absmax.sum() / len(absmax)", "torch.tensor(0.0)")),
                "mean was not taken off",
            ),
            (
                """
def double_quantize(absmax, block):
    codes, scales, means = [], [], []
    for part in absmax.split(block):
        left = part - part.mean()
        scales.append(left.abs().max() / 127)
        codes.append((left / scales[-1]).round().to(torch.int8))
        means.append(part.mean())
    return torch.cat(codes), torch.stack(scales), torch.stack(means)
""",
                "own mean",
            ),
            (
                spoil(DOUBLE, ("offset = absmax", "block = len(absmax)\n    offset = absmax")),
                "One scale for all",
            ),
            (
                spoil(
                    DOUBLE,
                    ("/ 127", "/ 255"),
                    ("torch.round(part / scale)", "torch.round(part / scale).clamp(-128, 127)"),
                ),
                "Divided by 255",
            ),
            (
                spoil(
                    DOUBLE,
                    ("/ 127", "/ 128"),
                    ("torch.round(part / scale)", "torch.round(part / scale).clamp(-128, 127)"),
                ),
                "Divided by 128",
            ),
            (spoil(DOUBLE, ("torch.round(part / scale)", "part / scale")), "cut towards 0"),
            (
                spoil(
                    DOUBLE, ("torch.cat(codes).to(torch.int8)", "(torch.cat(codes) + 128).byte()")
                ),
                "unsigned",
            ),
            (spoil(DOUBLE, ("torch.stack(scales)", "1 / torch.stack(scales)")), "upside down"),
            (spoil(DOUBLE, ("absmax.sum() / len(absmax)", "absmax.min()")), "smallest absmax"),
            (
                spoil(
                    DOUBLE,
                    (
                        "codes.append(torch.round(part / scale))",
                        "codes.append(torch.round(part / scale) * scale + offset)",
                    ),
                    (".to(torch.int8)", ""),
                ),
                "stand for",
            ),
        ],
    },
    "a5.bytes": {
        "right": [SIZES, "sizes = (9 / 2, 2113 / 512, 81_408, 2_152.240128, 39.07584)"],
        "wrong": [
            (spoil(SIZES, ("4.5, 4 + 1 / 8 + 1 / 512", "36, 12")), "half a bit each"),
            (spoil(SIZES, ("4.5, 4 + 1 / 8 + 1 / 512", "4, 4")), "codes alone"),
            (spoil(SIZES, (" + 1 / 512", "")), "scales of its own"),
            (spoil(SIZES, ("1 / 512", "1 / 8")), "256 blocks"),
            (spoil(SIZES, ("8 * i + 8 * o", "4 * i + 4 * o")), "two matrices"),
            (spoil(SIZES, ("16e-6, 30 * one * 16e-6", "4e-6, 30 * one * 4e-6")), "16 bytes, not 4"),
            (
                spoil(SIZES, ("16e-6, 30 * one * 16e-6", "12e-6, 30 * one * 12e-6")),
                "gradient is missing",
            ),
            (spoil(SIZES, ("30 * one * 16e-6", "one * 16e-6")), "not those of one"),
            (
                spoil(SIZES, ("16e-6, 30 * one * 16e-6", "16 / 2**20, 30 * one * 16 / 2**20")),
                "mebibytes",
            ),
            (spoil(SIZES, ("/ 512, one,", "/ 512, 30 * one,")), "one block was asked for"),
        ],
    },
}

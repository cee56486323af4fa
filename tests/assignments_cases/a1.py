"""Answers to assignment 1 as students might write them."""

from assignments_cases import spoil

BY_HAND = """
low, high = -1.0, 2.0
scale = (high - low) / 15
by_hand = {"scale": scale, "zero_point": 5, "codes": [0, 3, 6, 7, 15]}
"""

GRID = """
def choose_grid(weight, bits):
    weight = weight.float()
    zero = torch.zeros(len(weight), 1)
    inside = torch.cat([weight, zero], dim=1)
    low, high = inside.min(dim=1, keepdim=True)[0], inside.max(dim=1, keepdim=True)[0]
    scale = (high - low) / (2 ** bits - 1)
    scale[scale == 0] = 1.0
    zero_point = torch.round(-low / scale)
    return scale, zero_point.to(torch.uint8)
"""
GRID_LOOP = """
def choose_grid(weight, bits):
    scales, zeros = [], []
    for row in weight.double().tolist():
        low, high = min(row + [0.0]), max(row + [0.0])
        scale = (high - low) / (2**bits - 1) or 1.0
        scales.append([scale])
        zeros.append([round(-low / scale)])
    return torch.tensor(scales), torch.tensor(zeros, dtype=torch.uint8)
"""
CALLS_GRID = """
def choose_grid(weight, bits):
    from qlearn.affine import choose_qparams
    from qlearn.scheme import QuantScheme
    scale, zero_point = choose_qparams(weight, QuantScheme(bits))
    return scale, zero_point.to(torch.uint8)
"""

CODES = """
def quantize(weight, scale, zero_point, bits):
    steps = torch.round(weight.float() / scale)
    codes = steps + zero_point.float()
    codes = torch.clamp(codes, min=0, max=2 ** bits - 1)
    return codes.to(torch.uint8)
"""
CODES_LOOP = """
def quantize(weight, scale, zero_point, bits):
    out = torch.empty(weight.shape, dtype=torch.uint8)
    for r, row in enumerate(weight.double().tolist()):
        s, z = scale[r].item(), int(zero_point[r])
        for c, w in enumerate(row):
            out[r, c] = min(max(round(w / s) + z, 0), 2**bits - 1)
    return out
"""
CODES_INT = """
def quantize(weight, scale, zero_point, bits):
    steps = (weight.float() / scale).round().long() + zero_point.long()
    return torch.where(steps < 0, 0, steps).clamp_max(2**bits - 1).byte()
"""
CALLS_CODES = """
def quantize(weight, scale, zero_point, bits):
    from qlearn.affine import round_to_codes
    from qlearn.scheme import QuantScheme
    made = round_to_codes(weight.float(), scale, zero_point, QuantScheme(bits))
    return made.to(torch.uint8)
"""

BACK = """
def dequantize(codes, scale, zero_point):
    return (codes.to(torch.float32) - zero_point.to(torch.float32)) * scale
"""
BACK_LOOP = """
def dequantize(codes, scale, zero_point):
    rows = []
    for c, s, z in zip(codes.int(), scale, zero_point.int()):
        rows.append((c - z) * s)
    return torch.stack(rows)
"""

NOISE = "one_bit_more = {'largest': 31 / 15, 'mean_square': (31 / 15) ** 2}"

PACK = """
def pack_int4(codes):
    n = codes.shape[-1]
    if n % 2 == 1:
        filler = torch.zeros(codes.shape[:-1] + (1,), dtype=codes.dtype)
        codes = torch.cat([codes, filler], dim=-1)
    first = codes[..., ::2]
    second = codes[..., 1::2]
    return first | (second << 4)
"""
PACK_LOOP = """
def pack_int4(codes):
    flat = codes.reshape(-1, codes.shape[-1]).tolist()
    packed = []
    for row in flat:
        row = row + [0] * (len(row) % 2)
        packed.append([row[k] + 16 * row[k + 1] for k in range(0, len(row), 2)])
    return torch.tensor(packed, dtype=torch.uint8).reshape(*codes.shape[:-1], -1)
"""
PACK_SUM = """
def pack_int4(codes):
    half = (codes.shape[-1] + 1) // 2
    packed = torch.zeros(*codes.shape[:-1], half, dtype=torch.uint8)
    packed += codes[..., 0::2]
    packed[..., : codes.shape[-1] // 2] += codes[..., 1::2] * 16
    return packed
"""
CALLS_PACK = """
def pack_int4(codes):
    from qlearn.packing import pack
    return pack(codes, 4)
"""

UNPACK = """
def unpack_int4(packed, n):
    codes = torch.empty(packed.shape[:-1] + (2 * packed.shape[-1],), dtype=torch.uint8)
    codes[..., 0::2] = packed & 0x0F
    codes[..., 1::2] = packed >> 4
    return codes[..., :n]
"""
UNPACK_DIV = """
def unpack_int4(packed, n):
    pairs = torch.stack([packed % 16, packed // 16], dim=-1)
    return pairs.reshape(*packed.shape[:-1], -1)[..., :n]
"""
CALLS_UNPACK = """
def unpack_int4(packed, n):
    from qlearn import packing
    return packing.unpack(packed, 4, n)
"""

MODEL = (
    GRID
    + CODES
    + PACK
    + """
def pack_model(state):
    out = {}
    for name in state:
        weight = state[name]
        if weight.dim() == 2 and "layers" in name:
            scale, zero_point = choose_grid(weight, 4)
            scale = scale.to(torch.float16)
            codes = quantize(weight, scale.to(torch.float32), zero_point, 4)
            out[name + ".packed"] = pack_int4(codes)
            out[name + ".scale"] = scale
            out[name + ".zero_point"] = zero_point
        else:
            out[name] = weight
    return out
"""
)
MODEL_OTHER = (
    GRID_LOOP
    + CODES_INT
    + PACK_SUM
    + """
KINDS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

def pack_model(state):
    linear = [name for name in state if name.split(".")[-2] in KINDS]
    out = {name: tensor for name, tensor in state.items() if name not in linear}
    for name in linear:
        scale, zero_point = choose_grid(state[name], 4)
        codes = quantize(state[name], scale.half().float(), zero_point, 4)
        parts = {"packed": pack_int4(codes), "scale": scale.half(), "zero_point": zero_point}
        out.update({f"{name}.{part}": tensor for part, tensor in parts.items()})
    return out
"""
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
                "def dequantize(codes, scale, zero_point):\n    return (codes - zero_point) * scale",
                "wraps around",
            ),
            (
                "def dequantize(codes, scale, zero_point):\n"
                "    return (codes.char().float() - zero_point.char().float()) * scale",
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
                "one_bit_more = {k: d * math.log10(31/15) for k, d in "
                "(('largest', 10), ('mean_square', 20))}",
                "decibels",
            ),
            ("one_bit_more = {'largest': 31/15, 'mean_square': (31/15)**3}", "A cube"),
        ],
    },
    "a1.pack": {
        "right": [PACK, PACK_LOOP, PACK_SUM],
        "wrong": [
            (spoil(PACK, ("first | (second << 4)", "(first << 4) | second")), "high half of the"),
            (
                spoil(
                    PACK, ("codes = torch.cat([codes, filler], dim=-1)", "codes = codes[..., :-1]")
                ),
                "is lost",
            ),
            (
                "def pack_int4(codes):\n    codes = codes.flatten()\n"
                "    if len(codes) % 2:\n        codes = torch.cat([codes, codes.new_zeros(1)])\n"
                "    return codes[::2] | codes[1::2] << 4",
                "Codes of two rows",
            ),
            (
                spoil(
                    PACK,
                    ("codes[..., ::2]", "codes[..., : codes.shape[-1] // 2]"),
                    ("codes[..., 1::2]", "codes[..., codes.shape[-1] // 2 :]"),
                ),
                "two halves are paired",
            ),
            (spoil(PACK, ("[codes, filler]", "[filler, codes]")), "at its front"),
            (spoil(PACK, ("torch.zeros(", "15 * torch.ones(")), "filled up with 15"),
            (spoil(PACK, ("(second << 4)", "second")), "not shifted"),
            (spoil(PACK, ("<< 4", "<< 3")), "shifted by 3"),
            (spoil(PACK, ("(second << 4)", "(second * 10)"), ("|", "+")), "multiplied by 10"),
            (spoil(PACK, ("first | (second << 4)", "first ^ 8 | ((second ^ 8) << 4)")), "signed"),
            (spoil(PACK, ("return first", "first = first.int()\n    return first")), "not uint8"),
        ],
        "calls": [CALLS_PACK],
    },
    "a1.unpack": {
        "right": [UNPACK, UNPACK_DIV],
        "wrong": [
            (
                spoil(UNPACK, ("0::2", "9::2"), ("1::2", "0::2"), ("9::2", "1::2")),
                "high half comes",
            ),
            (spoil(UNPACK, ("packed & 0x0F", "packed")), "still carries"),
            (spoil(UNPACK, ("& 0x0F", "% 15")), "is not a mask"),
            (spoil(UNPACK, ("& 0x0F", "& 0x07")), "three bits"),
            (spoil(UNPACK, (">> 4", ">> 3 & 15")), "shifted by 3"),
            (spoil(UNPACK, ("packed >> 4", "packed & 0xF0")), "not shifted down"),
            (
                spoil(
                    UNPACK,
                    ("0::2", ": packed.shape[-1]"),
                    ("1::2", "packed.shape[-1] :"),
                ),
                "Interleave",
            ),
            (spoil(UNPACK, ("[..., :n]", "")), "still there"),
            (spoil(UNPACK, ("[..., :n]", "[..., -n:]")), "at the front"),
            (
                spoil(
                    UNPACK, ("return codes", "codes = ((codes ^ 8).char() - 8)\n    return codes")
                ),
                "turn negative",
            ),
            (
                spoil(UNPACK, ("return codes", "codes = codes.char() - 8\n    return codes")),
                "8 is taken off",
            ),
        ],
        "calls": [CALLS_UNPACK],
    },
    "a1.model": {
        "right": [MODEL, MODEL_OTHER],
        "wrong": [
            (
                spoil(MODEL, ("scale.to(torch.float32), z", "choose_grid(weight, 4)[0], z")),
                "reader has",
            ),
            (
                spoil(MODEL, ("            out[name] = weight\n", "            pass\n")),
                "other tensors are",
            ),
            (spoil(MODEL, (' and "layers" in name', "")), "embeddings are quantized"),
            (spoil(MODEL, ('"layers" in name', '"self_attn" in name')), "One layer kind"),
            (spoil(MODEL, ('"layers" in name', '"mlp" in name')), "Only the projections"),
            (
                spoil(
                    MODEL,
                    (
                        "            scale, zero",
                        "            weight = weight.T\n            scale, zero",
                    ),
                ),
                "wrong dimension",
            ),
            (
                spoil(MODEL, ("first | (second << 4)", "second | (first << 4)")),
                "halves of each byte",
            ),
            (
                spoil(
                    MODEL,
                    (
                        "choose_grid(weight, 4)",
                        "(t.expand(len(weight), 1).clone() "
                        "for t in choose_grid(weight.reshape(1, -1), 4))",
                    ),
                ),
                "whole matrix",
            ),
            (spoil(MODEL, ("scale = scale.to(torch.float16)", "pass")), "scales are float32"),
            (
                spoil(
                    MODEL, ("        else:\n            out", "        if True:\n            out")
                ),
                "beside the packed",
            ),
        ],
    },
}

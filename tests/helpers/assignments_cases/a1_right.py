"""Right answers to assignment 1 as students might write them."""

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
    from qlearn.numerics.affine import choose_qparams
    from qlearn.numerics.scheme import QuantScheme
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
    from qlearn.numerics.affine import round_to_codes
    from qlearn.numerics.scheme import QuantScheme
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
    from qlearn.numerics.packing import pack
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

"""Right answers to assignment 2 as students might write them."""

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
    from qlearn.numerics.scheme import QuantScheme
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
    from qlearn.numerics.affine import quantize
    from qlearn.numerics.scheme import QuantScheme
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

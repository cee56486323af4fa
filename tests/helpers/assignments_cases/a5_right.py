"""Right answers to assignment 5, each question in two ways, as students might write them."""

LEVELS = """
def normal_levels(bits, offset):
    half = 2 ** (bits - 1)
    normal = torch.distributions.Normal(0.0, 1.0)
    found = [0.0]
    for count, sign in ((half, 1), (half - 1, -1)):
        for k in range(count):
            p = offset - k * (offset - 0.5) / count
            found.append(sign * normal.icdf(torch.tensor(p, dtype=torch.float64)).item())
    table = torch.tensor(sorted(found), dtype=torch.float64)
    return (table / table.max()).float()
"""
LEVELS_ERF = """
def normal_levels(bits, offset):
    def quantile(p):
        return math.sqrt(2) * torch.erfinv(2 * p - 1)
    n = 2 ** (bits - 1)
    up = quantile(torch.linspace(0.5, offset, n + 1, dtype=torch.float64)[1:])
    down = quantile(torch.linspace(0.5, offset, n, dtype=torch.float64)[1:])
    return (torch.cat((-down.flip(0), torch.zeros(1), up)) / up[-1]).to(torch.float32)
"""

QUANTIZE = """
def quantize_blocks(weight, levels, block):
    flat = weight.reshape(-1).float()
    codes, sizes = [], []
    for start in range(0, len(flat), block):
        part = flat[start : start + block]
        size = part.abs().max()
        scaled = part / size if size > 0 else part
        distance = (scaled.unsqueeze(1) - levels.unsqueeze(0)).abs()
        codes.append(distance.argmin(dim=1))
        sizes.append(size)
    return torch.cat(codes).to(torch.uint8), torch.stack(sizes)
"""
QUANTIZE_BUCKETS = """
def quantize_blocks(weight, levels, block):
    flat = weight.float().flatten()
    padded = torch.nn.functional.pad(flat, (0, -len(flat) % block)).view(-1, block)
    absmax = padded.abs().amax(1)
    middles = (levels[1:] + levels[:-1]) / 2
    scaled = padded / absmax.clamp(min=1e-30)[:, None]
    codes = torch.bucketize(scaled, middles).flatten()[: len(flat)]
    return codes.byte(), absmax
"""

DOUBLE = """
def double_quantize(absmax, block):
    offset = absmax.sum() / len(absmax)
    codes, scales = [], []
    for start in range(0, len(absmax), block):
        part = absmax[start : start + block] - offset
        scale = part.abs().max() / 127
        codes.append(torch.round(part / scale))
        scales.append(scale)
    return torch.cat(codes).to(torch.int8), torch.stack(scales), offset
"""
DOUBLE_PADDED = """
def double_quantize(absmax, block):
    offset = absmax.mean()
    left = torch.nn.functional.pad(absmax - offset, (0, -len(absmax) % block)).view(-1, block)
    scale = left.abs().max(dim=1).values / 127
    codes = (left / scale[:, None]).round().char().flatten()[: len(absmax)]
    return [codes, scale, offset]
"""

INIT = """
def new_adapter(in_features, out_features, rank, seed):
    torch.manual_seed(seed)
    layer = torch.nn.Linear(in_features, rank, bias=False)
    return layer.weight.detach(), torch.zeros(out_features, rank)
"""
INIT_KAIMING = """
def new_adapter(in_features, out_features, rank, seed):
    generator = torch.Generator().manual_seed(seed)
    bound = in_features ** -0.5
    a = torch.empty(rank, in_features).uniform_(-bound, bound, generator=generator)
    b = torch.zeros((out_features, rank))
    return [a, b]
"""

LORA = """
def lora_forward(x, codes, absmax, levels, a, b, alpha):
    owner = torch.arange(len(codes)) // 64
    weight = (levels[codes.int()] * absmax[owner]).reshape(b.shape[0], a.shape[1])
    return torch.nn.functional.linear(x, weight + alpha / a.shape[0] * b @ a)
"""
LORA_LOOP = """
def lora_forward(x, codes, absmax, levels, a, b, alpha):
    flat = levels[codes.long()].clone()
    for k in range(len(absmax)):
        flat[64 * k : 64 * (k + 1)] *= absmax[k]
    base = torch.einsum("...i,oi->...o", x, flat.view(len(b), x.shape[-1]))
    low = torch.einsum("...i,ri->...r", x, a)
    return base + torch.einsum("...r,or->...o", low, b) * (alpha / len(a))
"""

GRADIENTS = """
def adapter_gradients(x, upstream, weight, a, b, alpha):
    leaves = [t.clone().requires_grad_(True) for t in (x, a, b)]
    x, a, b = leaves
    y = x @ weight.T + alpha / len(a) * x @ a.T @ b.T
    dx, da, db = torch.autograd.grad(y, leaves, upstream)
    return {"a": da, "b": db, "x": dx}
"""
GRADIENTS_SUMS = """
def adapter_gradients(x, upstream, weight, a, b, alpha):
    s = alpha / a.shape[0]
    da, db = torch.zeros_like(a), torch.zeros_like(b)
    for token, g in zip(x, upstream):
        da = da + s * torch.outer(b.T @ g, token)
        db = db + s * torch.outer(g, a @ token)
    return {"a": da, "b": db, "x": upstream @ (weight + s * b @ a)}
"""

# The base rounded without loops: the whole weight in one, each adapter merged into its layer.
STEP = (
    LEVELS_ERF
    + QUANTIZE_BUCKETS
    + """
class Adapted(torch.nn.Module):
    def __init__(self, base, pair, factor):
        super().__init__()
        self.base, self.factor = base, factor
        self.a, self.b = (torch.nn.Parameter(m.clone()) for m in pair)

    def forward(self, x):
        return self.base(x) + self.factor * (x @ self.a.T) @ self.b.T

def qlora_step(model, tokens, adapters, alpha, lr):
    levels = normal_levels(4, 1 - (1 / 32 + 1 / 30) / 2)
    for p in model.parameters():
        p.requires_grad = False
    for block in model.model.layers:
        for layer in block.modules():
            if isinstance(layer, torch.nn.Linear):
                codes, absmax = quantize_blocks(layer.weight, levels, 64)
                owner = torch.arange(len(codes)) // 64
                layer.weight.copy_((levels[codes.long()] * absmax[owner]).view(layer.weight.shape))
    put = {}
    for name, pair in adapters.items():
        parent, _, own = name.rpartition(".")
        layer = Adapted(model.get_submodule(name), pair, alpha / len(pair[0]))
        setattr(model.get_submodule(parent), own, layer)
        put[name] = layer
    logits = model(tokens).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:])
    loss.backward()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr)
    optimizer.step()
    return {
        "loss": float(loss),
        "adapters": {name: [put[name].a.data, put[name].b.data] for name in adapters},
    }
"""
)
STEP_MERGED = (
    LEVELS
    + QUANTIZE
    + """
def qlora_step(model, tokens, adapters, alpha, lr):
    levels = normal_levels(4, 0.9677083333333333)
    leaves = {n: [m.clone().requires_grad_() for m in pair] for n, pair in adapters.items()}
    values = {n: p.detach() for n, p in model.named_parameters()}
    for name, weight in list(values.items()):
        if ".layers." in name and weight.dim() == 2:
            codes, absmax = quantize_blocks(weight, levels, 64)
            back = levels[codes.long()] * absmax.repeat_interleave(64)[: len(codes)]
            values[name] = back.view_as(weight)
    for name, (a, b) in leaves.items():
        key = name + ".weight"
        values[key] = values[key] + alpha / len(a) * (b @ a)
    logits = torch.func.functional_call(model, values, (tokens,)).logits
    chances = logits.log_softmax(-1)[:, :-1].gather(-1, tokens[:, 1:, None])
    loss = -chances.mean()
    flat = [m for pair in leaves.values() for m in pair]
    grads = iter(torch.autograd.grad(loss, flat))
    new = {n: [(m - lr * next(grads)).detach() for m in pair] for n, pair in leaves.items()}
    return {"loss": loss.item(), "adapters": new}
"""
)

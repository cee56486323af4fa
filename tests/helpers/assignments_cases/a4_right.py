"""Right answers to assignment 4, each question in two ways, as students might write them."""

ROUND = """
from qlearn import QuantScheme
from qlearn.numerics.affine import quantize

def rounded(weight, bits, group_size):
    return quantize(weight, QuantScheme(bits, group_size=group_size)).dequantize()
"""

SALIENT = """
def salient(inputs, share):
    total = torch.zeros(inputs.shape[-1])
    for token in inputs.reshape(-1, inputs.shape[-1]):
        total += token.abs()
    keep = total.sort(descending=True).indices[: math.ceil(share * len(total))]
    mask = torch.zeros(len(total), dtype=torch.bool)
    mask[keep] = True
    return mask
"""
SALIENT_RANK = """
def salient(inputs, share):
    size = inputs.abs().mean(dim=tuple(range(inputs.dim() - 1)))
    rank = size.argsort(descending=True).argsort()
    return rank < math.ceil(share * size.numel())
"""

SCALES = """
def channel_scales(inputs, ratio):
    mean = inputs.reshape(-1, inputs.shape[-1]).abs().sum(0) / (inputs.numel() // inputs.shape[-1])
    powers = torch.clamp(mean ** ratio, min=1e-4)
    middle = torch.sqrt(powers.max() * powers.min())
    return powers / middle
"""
SCALES_LOG = """
def channel_scales(inputs, ratio):
    mean = inputs.double().abs().mean(dim=list(range(inputs.dim() - 1)))
    logs = torch.log(torch.clamp(mean ** ratio, min=1e-4))
    return torch.exp(logs - (logs.max() + logs.min()) / 2).float()
"""

LOSS = (
    ROUND
    + """
def output_loss(weight, moment, scales, bits, group_size):
    new = rounded(weight * scales, bits, group_size) / scales
    error = (new - weight).double()
    per_output = torch.einsum("oi,ij,oj->o", error, moment.double(), error)
    return per_output.mean().item()
"""
)
LOSS_ROOT = (
    ROUND
    + """
def output_loss(weight, moment, scales, bits, group_size):
    values, vectors = torch.linalg.eigh(moment.double())
    root = vectors * values.clamp(min=0).sqrt()
    error = weight - rounded(weight @ torch.diag(scales), bits, group_size) / scales
    return ((error.double() @ root) ** 2).sum().item() / len(weight)
"""
)

SEARCH = (
    SCALES
    + ROUND
    + """
def best_ratio(weight, inputs, bits, group_size):
    best, least = None, float("inf")
    for step in range(20):
        ratio = step / 20
        scales = channel_scales(inputs, ratio)
        new = rounded(weight * scales, bits, group_size) / scales
        loss = ((inputs @ (new - weight).T) ** 2).mean().item()
        if loss < least:
            best, least = ratio, loss
    return best
"""
)
SEARCH_MOMENT = (
    SCALES_LOG
    + LOSS
    + """
def best_ratio(weight, inputs, bits, group_size):
    moment = inputs.T @ inputs
    tried = [0.05 * k for k in range(20)]
    def loss(r):
        return output_loss(weight, moment, channel_scales(inputs, r), bits, group_size)
    return min(tried, key=loss)
"""
)

FOLD = """
def fold(norm, weights, scales):
    new = {}
    for name in weights:
        new[name] = weights[name] @ torch.diag(scales)
    return norm * (1 / scales), new
"""
FOLD_LOOP = """
def fold(norm, weights, scales):
    result = {name: weight.clone() for name, weight in weights.items()}
    for weight in result.values():
        for i, s in enumerate(scales):
            weight[:, i] *= s
    return [norm / scales, result]
"""

CHAIN = """
def chain(before, bias, after, scales):
    inverse = torch.diag(1 / scales)
    new_bias = bias if bias is None else inverse @ bias
    return inverse @ before, new_bias, after @ torch.diag(scales)
"""
CHAIN_ROWS = """
def chain(before, bias, after, scales):
    before, after = before.clone(), after.clone()
    for i in range(len(scales)):
        before[i] /= scales[i]
        after[:, i] *= scales[i]
    if bias is not None:
        bias = bias / scales
    return before, bias, after
"""

PARTS = """
SHARED = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.up_proj": ("mlp.down_proj",),
}
"""
BLOCK = (
    SEARCH
    + PARTS
    + """
def awq_block(weights, inputs, bits, group_size):
    new = {name: weight.clone() for name, weight in weights.items()}
    for source, layers in SHARED.items():
        x = inputs[layers[0]]
        if bits is None:
            ratio = 0.5
        else:
            stacked = torch.cat([new[layer + ".weight"] for layer in layers])
            ratio = best_ratio(stacked, x, bits, group_size)
        scales = channel_scales(x, ratio)
        made = new[source + ".weight"]
        made /= scales if made.dim() == 1 else scales.unsqueeze(1)
        for layer in layers:
            new[layer + ".weight"] *= scales
    if bits is None:
        return {n: w for n, w in new.items() if not torch.equal(w, weights[n])}
    for name, weight in new.items():
        if weight.dim() == 2:
            new[name] = rounded(weight, bits, group_size)
    return new
"""
)
BLOCK_MOMENT = (
    SEARCH_MOMENT
    + PARTS
    + """
def awq_block(weights, inputs, bits, group_size):
    new = dict(weights)
    for source in SHARED:
        names = [layer + ".weight" for layer in SHARED[source]]
        x = inputs[SHARED[source][0]]
        ratio = 0.5
        if bits:
            ratio = best_ratio(torch.cat([new[n] for n in names]), x, bits, group_size)
        s = channel_scales(x, ratio)
        key = source + ".weight"
        new[key] = (new[key].T / s).T
        for n in names:
            new[n] = new[n] * s
    if bits:
        new = {n: rounded(w, bits, group_size) if w.ndim == 2 else w for n, w in new.items()}
    return {n: w for n, w in new.items() if not w.equal(weights[n])}
"""
)

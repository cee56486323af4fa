"""Right answers to assignment 3 as students might write them."""

from assignments_cases import spoil

BY_HAND = """
moved = 0.4 + 0.4 * 1.8 / 2
def loss(a, b):
    return 0.5 * (2 * a * a + 2 * b * b + 2 * 1.8 * a * b)
by_hand = {
    "moved": moved, "codes": [0, 1], "loss": loss(0.4, 0.4 - 1), "nearest_loss": loss(0.4, 0.4)
}
"""

HESSIAN = """
def hessian(batches):
    total, n = 0.0, 0
    for batch in batches:
        x = batch.float().flatten(0, -2)
        total = total + x.T @ x
        n += x.shape[0]
    return 2 * total / n
"""
HESSIAN_CAT = """
def hessian(batches):
    x = torch.cat([b.reshape(-1, b.shape[-1]) for b in batches]).double()
    return (torch.einsum("ti,tj->ij", x, x) * (2 / len(x))).float()
"""

FREE = """
def best_free(weight, done, hessian):
    k = done.shape[1]
    weight = weight.double()
    H = hessian.double()
    error = weight[:, :k] - done
    moves = torch.linalg.solve(H[k:, k:], H[k:, :k] @ error.T).T
    return (weight[:, k:] + moves).float()
"""
# The derivative of the loss, with the rows as unknowns one after another.
FREE_ROWS = """
def best_free(weight, done, hessian):
    k = done.shape[1]
    H = hessian.double()
    result = []
    for w, d in zip(weight.double(), done.double()):
        target = H[k:] @ w - H[k:, :k] @ d
        result.append(torch.linalg.inv(H[k:, k:]) @ target)
    return torch.stack(result).float()
"""

GIVEN = """
def given(weight, hessian, scale, zero_point, bits):
    inverse = torch.linalg.inv(hessian.double())
    left = weight.double().clone()
    codes = torch.zeros(weight.shape, dtype=torch.uint8)
    for i in range(weight.shape[1]):
        column = left[:, i : i + 1]
        code = torch.clamp(torch.round(column / scale) + zero_point, 0, 2**bits - 1)
        codes[:, i : i + 1] = code.to(torch.uint8)
        error = (column - (code - zero_point) * scale) / inverse[i, i]
        left[:, i + 1 :] -= error * inverse[i, i + 1 :]
    return codes
"""
GPTQ = """
def gptq(weight, hessian, scale, zero_point, bits):
    inverse = torch.linalg.inv(hessian.double())
    factor = torch.linalg.cholesky(inverse, upper=True)
    left = weight.double().clone()
    codes = torch.zeros(weight.shape, dtype=torch.uint8)
    for i in range(weight.shape[1]):
        column = left[:, i : i + 1]
        code = torch.clamp(torch.round(column / scale) + zero_point, 0, 2**bits - 1)
        codes[:, i : i + 1] = code.to(torch.uint8)
        error = (column - (code - zero_point) * scale) / factor[i, i]
        left[:, i + 1 :] -= error * factor[i, i + 1 :]
    return codes
"""
# After each column the rest of the inverse is brought up to date, one elimination step.
GPTQ_UPDATED = """
def gptq(weight, hessian, scale, zero_point, bits):
    inverse = torch.linalg.inv(hessian.double())
    left = weight.double().clone()
    codes = []
    for i in range(weight.shape[1]):
        w = left[:, 0]
        code = ((w / scale[:, 0]).round() + zero_point[:, 0]).clamp(0, 2**bits - 1)
        codes.append(code)
        error = w - (code - zero_point[:, 0]) * scale[:, 0]
        left = left[:, 1:] - torch.outer(error, inverse[0, 1:] / inverse[0, 0])
        inverse = inverse[1:, 1:] - torch.outer(inverse[1:, 0], inverse[0, 1:]) / inverse[0, 0]
    return torch.stack(codes, dim=1).to(torch.uint8)
"""
GPTQ_SOLVED = (
    FREE
    + """
def gptq(weight, hessian, scale, zero_point, bits):
    done = torch.zeros(len(weight), 0, dtype=torch.float64)
    codes = []
    for i in range(weight.shape[1]):
        place = best_free(weight, done, hessian)[:, :1] if i else weight[:, :1].float()
        code = ((place / scale).round() + zero_point).clamp(0, 2**bits - 1)
        codes.append(code.to(torch.uint8))
        done = torch.cat([done, ((code - zero_point) * scale).double()], dim=1)
    return torch.cat(codes, dim=1)
"""
)
CALLS_GPTQ = """
def gptq(weight, hessian, scale, zero_point, bits):
    from qlearn.methods.gptq import inverse_factor
    factor = inverse_factor(hessian.double(), damping=0.0)
""" + GPTQ.split("factor = torch.linalg.cholesky(inverse, upper=True)\n")[1]

LOSS = """
def lost(codes, weight, hessian, scale, zero_point):
    error = weight - (codes - zero_point) * scale
    return float(((error @ hessian) * error).sum())
"""
WITNESS = (
    GIVEN
    + GPTQ
    + LOSS
    + """
def witness(columns):
    torch.manual_seed(columns)
    scale, zero_point = torch.ones(1, 1), torch.full((1, 1), 3.0)
    while True:
        x = torch.randn(5 * columns, columns) + 2 * torch.randn(5 * columns, 1)
        hessian = 2 / len(x) * x.T @ x
        weight = 1.5 * torch.randn(1, columns)
        problem = (weight, hessian, scale, zero_point)
        bad, good = lost(given(*problem, 3), *problem), lost(gptq(*problem, 3), *problem)
        if bad > 1.1 * good:
            return problem
"""
)
# Three columns built by reasoning, the others uncorrelated and on the grid already.
WITNESS_BUILT = (
    GIVEN
    + GPTQ_UPDATED
    + LOSS
    + """
def witness(columns):
    scale, zero_point = torch.ones(1, 1), torch.full((1, 1), 3.0)
    hessian = 2 * torch.eye(columns)
    hessian[:3, :3] = torch.tensor([[2.0, 1.5, 1.0], [1.5, 2.0, 1.5], [1.0, 1.5, 2.0]])
    weight = torch.zeros(1, columns)
    for k in range(4000):
        weight[0, :3] = torch.tensor([k // 400, k // 20 % 20, k % 20]) * 0.1 - 0.95
        problem = (weight, hessian, scale, zero_point)
        bad, good = lost(given(*problem, 3), *problem), lost(gptq(*problem, 3), *problem)
        if bad > 1.06 * good:
            return problem
"""
)

GROUPS = """
def gptq_groups(weight, hessian, bits, group_size, damping):
    H = hessian.double().clone()
    left = weight.double().clone()
    dead = torch.diag(H) == 0
    H[dead, dead] = 1
    left[:, dead] = 0
    H += damping * torch.diag(H).mean() * torch.eye(len(H), dtype=H.dtype)
    factor = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    top = 2**bits - 1
    codes = torch.zeros(weight.shape, dtype=torch.uint8)
    scales, zeros = [], []
    for i in range(weight.shape[1]):
        if i % group_size == 0:
            group = left[:, i : i + group_size]
            low = group.min(1, keepdim=True).values.clamp(max=0)
            high = group.max(1, keepdim=True).values.clamp(min=0)
            scale = (high - low) / top
            scale[scale == 0] = 1
            zero = torch.round(-low / scale)
            scales.append(scale)
            zeros.append(zero)
        column = left[:, i : i + 1]
        code = (torch.round(column / scale) + zero).clamp(0, top)
        codes[:, i : i + 1] = code.to(torch.uint8)
        error = (column - (code - zero) * scale) / factor[i, i]
        left[:, i + 1 :] -= error * factor[i, i + 1 :]
    return codes, torch.cat(scales, 1).float(), torch.cat(zeros, 1).to(torch.uint8)
"""
GROUPS_UPDATED = """
def gptq_groups(weight, hessian, bits, group_size, damping):
    n = len(hessian)
    alive = (hessian.diagonal() != 0).double()
    H = hessian.double() + torch.diag(1 - alive)
    H = H + torch.eye(n) * (damping * H.diagonal().sum() / n)
    left = weight.double() * alive
    inverse = torch.linalg.inv(H)
    codes, scales, zeros = [], [], []
    for start in range(0, n, group_size):
        part = left[:, start : start + group_size]
        low, high = part.amin(1).clamp(max=0), part.amax(1).clamp(min=0)
        s = (high - low) / (2**bits - 1)
        s = torch.where(s == 0, 1.0, s)
        z = (-low / s).round()
        scales.append(s.float())
        zeros.append(z.byte())
        for i in range(start, min(start + group_size, n)):
            c = ((left[:, i] / s).round() + z).clamp(0, 2**bits - 1)
            codes.append(c.byte())
            e = left[:, i] - (c - z) * s
            row = inverse[i] / inverse[i, i]
            left = left - torch.outer(e, row) * (torch.arange(n) > i)
            inverse = inverse - torch.outer(inverse[:, i], row)
    stack = lambda parts: torch.stack(parts, 1)
    return stack(codes), stack(scales), stack(zeros)
"""
CALLS_GROUPS = """
def gptq_groups(weight, hessian, bits, group_size, damping):
    from qlearn.methods.gptq import gptq_quantize
""" + GROUPS.split("damping):\n")[1]

MODEL = (
    GROUPS
    + """
def gptq_model(weights, hessians, bits, group_size):
    result = {}
    for name, weight in weights.items():
        codes, scale, zero_point = gptq_groups(weight, hessians[name], bits, group_size, 0.01)
        result[name] = {"codes": codes, "scale": scale, "zero_point": zero_point}
    return result
"""
)
MODEL_OTHER = (
    GROUPS_UPDATED
    + """
def gptq_model(weights, hessians, bits, group_size):
    keys = ("codes", "scale", "zero_point")
    return {
        name: dict(zip(keys, gptq_groups(weights[name], H, bits, group_size, 0.01)))
        for name, H in hessians.items()
    }
"""
)
NEAREST = """
def gptq_model(weights, hessians, bits, group_size):
    result = {}
    for name, weight in weights.items():
        codes, scales, zeros = [], [], []
        for part in weight.split(group_size, 1):
            low, high = part.amin(1, True).clamp(max=0), part.amax(1, True).clamp(min=0)
            scale = (high - low) / (2**bits - 1)
            zero = (-low / scale).round()
            codes.append(((part / scale).round() + zero).clamp(0, 2**bits - 1).byte())
            scales.append(scale)
            zeros.append(zero.byte())
        parts = {"codes": codes, "scale": scales, "zero_point": zeros}
        result[name] = {key: torch.cat(value, 1) for key, value in parts.items()}
    return result
"""


def stale(source):
    """The source with the rows of the inverse in place of those of its factor."""
    return source.replace(
        "torch.linalg.cholesky(torch.linalg.inv(H), upper=True)", "torch.linalg.inv(H)"
    )


def handed(source, change):
    """A witness that spoils its problem before it hands it in."""
    return spoil(source, ("return problem", f"return {change}"))

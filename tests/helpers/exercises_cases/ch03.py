"""Right answers written another way, and wrong answers with words of their diagnosis."""

import torch


def group_quantize_by_loops(weight, bits, group_size):
    result = torch.empty_like(weight)
    top = 2**bits - 1
    for row in range(weight.shape[0]):
        for start in range(0, weight.shape[1], group_size):
            group = weight[row, start : start + group_size]
            low, high = min(float(group.min()), 0.0), max(float(group.max()), 0.0)
            scale = torch.tensor((high - low) / top)
            zero = torch.round(-low / scale)
            codes = torch.clamp(torch.round(group / scale) + zero, 0, top)
            result[row, start : start + group_size] = scale * (codes - zero)
    return result


def group_quantize_rows(weight, bits, group_size):
    low = weight.min(dim=1, keepdim=True).values.clamp(max=0)
    high = weight.max(dim=1, keepdim=True).values.clamp(min=0)
    scale = (high - low) / (2**bits - 1)
    zero = torch.round(-low / scale)
    return ((torch.round(weight / scale) + zero).clamp(0, 2**bits - 1) - zero) * scale


def group_quantize_unfolded(weight, bits, group_size):
    return group_quantize_by_loops(weight, bits, group_size).reshape(-1, group_size)


def group_quantize_columns(weight, bits, group_size):
    return group_quantize_by_loops(weight.T.contiguous(), bits, group_size).T.contiguous()


def bits_from_a_row(bits, group_size, symmetric):
    group = bits * group_size + 16
    if not symmetric:
        group += bits
    return group / group_size


def pack4_by_loop(codes):
    pairs = zip(codes[0::2].tolist(), codes[1::2].tolist(), strict=True)
    return torch.tensor([low + 16 * high for low, high in pairs], dtype=torch.uint8)


def pack4_high_first(codes):
    pairs = zip(codes[0::2].tolist(), codes[1::2].tolist(), strict=True)
    return torch.tensor([16 * low + high for low, high in pairs], dtype=torch.uint8)


def pack4_halves(codes):
    low, high = codes.chunk(2)
    return low + 16 * high


def pack3_with(starts, order):
    def pack3(codes):
        found = []
        for eight in codes.reshape(-1, 8).tolist():
            word = sum(code << start for code, start in zip(eight, starts, strict=True))
            found += word.to_bytes(3, order)
        return torch.tensor(found, dtype=torch.uint8)

    return pack3


UP, DOWN = range(0, 24, 3), range(21, -1, -3)

CASES = {
    "ch03.group_quantize": {
        "right": [group_quantize_by_loops],
        "wrong": [
            (group_quantize_rows, "Each whole row shares a scale"),
            (group_quantize_unfolded, "still in groups"),
            (group_quantize_columns, "run down the columns"),
        ],
    },
    "ch03.bits_per_weight": {
        "right": [bits_from_a_row],
        "wrong": [
            (lambda bits, group_size, symmetric: bits + 0.0, "Only the codes are counted"),
            (lambda bits, group_size, symmetric: (bits * group_size + 16) / group_size,
             "zero-points are missing"),
            (lambda bits, group_size, symmetric: (bits * (group_size + 1) + 16) / group_size,
             "zero-point is a constant"),
        ],
    },
    "ch03.megabytes": {
        "right": [6.554],
        "wrong": [
            (6.29, "scales are missing"),
            (6.25, "MiB (2^20 bytes)"),
            (8.65, "take 4 bits each"),
            (52.43, "8 times too large"),
        ],
    },
    "ch03.pack4": {
        "right": [pack4_by_loop],
        "wrong": [
            (pack4_high_first, "in the high half"),
            (pack4_halves, "two halves of the tensor"),
            (lambda codes: codes[::2] + 0, "second code of each pair is lost"),
        ],
    },
    "ch03.pack3": {
        "right": [pack3_with(UP, "little")],
        "wrong": [
            (pack3_with(UP, "big"), "come out in reverse"),
            (pack3_with(DOWN, "little"), "in the highest bits"),
            (lambda codes: codes[0::2] + 16 * codes[1::2], "still takes 4 bits"),
        ],
    },
}  # fmt: skip

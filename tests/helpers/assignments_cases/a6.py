"""Answers to assignment 6 as students might write them: all questions but the entry itself."""

from assignments_cases import spoil

BUDGET = """
e, w, n = 49152 * 576, 106168320, 35136
p = e + w + n
budget = [p * 3.5 / 8e6, e / p * 100]
budget += [(p * 3.5 - e * 8 - n * 16) / w, (p * 3.5 - e * 4 - n * 16) / w]
"""
NAMES = ("embedding, 4 bits", "embedding, 3 bits", "attention, 3 bits", "MLP, 3 bits")
ORDER_OF = f"order = [{NAMES}[k] for k in ({{}}, {{}}, {{}}, {{}})]"
ORDER = f"order = [{NAMES[0]!r}, {NAMES[2]!r}, {NAMES[1]!r}, {NAMES[3]!r}]"
UNPACK = """
def unpack(data, bits, count):
    places = torch.arange(count * bits)
    flat = data[places // 8].int() >> (places % 8)
    each = (flat & 1).view(count, bits)
    weights = torch.tensor([2 ** k for k in range(bits)])
    return (each * weights).sum(dim=1).to(torch.uint8)
"""
UNPACK_WORDS = """
def unpack(data, bits, count):
    first = torch.arange(count) * bits
    wide = torch.cat((data, data.new_zeros(2))).int()
    pair = wide[first // 8] + 256 * wide[first // 8 + 1]
    return ((pair >> (first % 8)) % 2 ** bits).to(torch.uint8)
"""
ALLOCATE = """
WIDTHS = (2, 3, 4, 5, 6, 8)

def allocate(sizes, losses, budget):
    chosen = [2] * len(sizes)
    def spent():
        return sum(s * b for s, b in zip(sizes, chosen))
    while True:
        options = []
        for k, size in enumerate(sizes):
            for j in range(WIDTHS.index(chosen[k]) + 1, 6):
                more = size * (WIDTHS[j] - chosen[k])
                saved = losses[k][WIDTHS.index(chosen[k])] - losses[k][j]
                if spent() + more <= budget and saved > 0:
                    options.append((saved / more, k, WIDTHS[j]))
        if not options:
            return chosen
        best = max(options)
        chosen[best[1]] = best[2]
"""
# Each tensor for itself at a price of a bit; the price is bisected, and what is left is spent.
ALLOCATE_PRICE = """
WIDTHS = (2, 3, 4, 5, 6, 8)

def allocate(sizes, losses, budget):
    def at(price):
        return [
            min(WIDTHS, key=lambda b: line[WIDTHS.index(b)] + price * size * b)
            for size, line in zip(sizes, losses)
        ]
    def cost(chosen):
        return sum(s * b for s, b in zip(sizes, chosen))
    low, high = 0.0, 1e9
    for _ in range(200):
        middle = (low * high) ** 0.5 if low else high / 1e3
        if cost(at(middle)) <= budget:
            high = middle
        else:
            low = middle
        if not low and high < 1e-30:
            break
    chosen = at(high)
    while True:
        steps = [
            (losses[k][WIDTHS.index(b)] - losses[k][WIDTHS.index(c)], k, c)
            for k, b in enumerate(chosen)
            for c in WIDTHS
            if c > b and cost(chosen) + sizes[k] * (c - b) <= budget
        ]
        if not steps or max(steps)[0] <= 0:
            return chosen
        chosen[max(steps)[1]] = max(steps)[2]
"""
ALIKE = """
    budget = round(budget / sum(sizes) * len(sizes))
    sizes = [1] * len(sizes)
    chosen = [2] *"""
IN_TURN = """
def allocate(sizes, losses, budget):
    chosen = [2] * len(sizes)
    for k in ORDER:
        for bits in (3, 4, 5, 6, 8):
            new = list(chosen)
            new[k] = bits
            if sum(s * b for s, b in zip(sizes, new)) <= budget:
                chosen = new
    return chosen
"""
CALLS_UNPACK = """
def unpack(data, bits, count):
    from qlearn.numerics.packing import unpack as theirs

    return theirs(data, bits, count)
"""

CASES = {
    "a6.budget": {
        "right": [BUDGET, "budget = [58.85, 21.05, 2.296, 3.363]"],
        "wrong": [
            (spoil(BUDGET, ("/ 8e6", "/ 1e6")), "megabits"),
            (spoil(BUDGET, ("/ 8e6", "/ 8 / 2**20")), "mebibytes"),
            (spoil(BUDGET, ("p = e + w + n", "p = 2 * e + w + n")), "counts once"),
            (spoil(BUDGET, ("[p * 3.5", "[w * 3.5")), "the embedding too"),
            (spoil(BUDGET, ("e / p * 100", "e / w * 100")), "not of the linear layers'"),
            (spoil(BUDGET, ("e / p * 100", "e / p")), "in percent"),
            (spoil(BUDGET, (") / w", ") / p")), "linear layers alone"),
            (
                spoil(BUDGET, ("e * 8", "e * 5"), ("e * 4", "e * 8"), ("e * 5", "e * 4")),
                "other way",
            ),
            (
                spoil(
                    BUDGET,
                    ("(p * 3.5 - e * 8 - n * 16) / w", "7 - 8"),
                    ("(p * 3.5 - e * 4 - n * 16) / w", "7 - 4"),
                ),
                "weigh them",
            ),
            (spoil(BUDGET, (" - e * 8 - n * 16", ""), (" - e * 4 - n * 16", "")), "not taken off"),
        ],
    },
    "a6.order": {
        "right": [ORDER, spoil(ORDER, ("[", "("), ("]", ")"))],
        "wrong": [
            (ORDER + "[::-1]", "turned over"),
            (ORDER_OF.format(0, 1, 2, 3), "read twice"),
            (ORDER_OF.format(2, 0, 1, 3), "fourth bit"),
            (ORDER_OF.format(0, 2, 3, 1), "more than half"),
            (ORDER_OF.format(0, 3, 2, 1), "three times"),
            (ORDER_OF.format(0, 1, 3, 2), "softmax"),
            (ORDER_OF.format(1, 0, 2, 3), "same part at 4"),
            (ORDER_OF.format(2, 3, 0, 1), "most delicate"),
            (ORDER_OF.format(3, 2, 0, 1), "Size decides"),
        ],
    },
    "a6.unpack": {
        "right": [UNPACK, UNPACK_WORDS],
        "wrong": [
            (spoil(UNPACK, ("(places % 8)", "(7 - places % 8)")), "from its highest bit; the"),
            (spoil(UNPACK, ("2 ** k for", "2 ** (bits - 1 - k) for")), "turned over"),
            (
                spoil(
                    UNPACK,
                    ("(places % 8)", "(7 - places % 8)"),
                    ("2 ** k for", "2 ** (bits - 1 - k) for"),
                ),
                "both read",
            ),
            (
                """
def unpack(data, bits, count):
    codes = []
    for byte in data.tolist():
        for k in range(8 // bits):
            codes.append(byte >> k * bits & 2**bits - 1)
    return torch.tensor(codes[:count], dtype=torch.uint8)
""",
                "end in the next",
            ),
            (spoil(UNPACK, ("(each * weights).sum", "(each * weights)[:-1].sum")), "last code"),
            (
                spoil(UNPACK, (".to(torch.uint8)", ".flip(0).to(torch.uint8)")),
                "codes come in the reverse",
            ),
            (
                spoil(UNPACK, ("data[places", "data.flip(0)[places")),
                "bytes are read in the reverse",
            ),
            (
                spoil(UNPACK, ("(each * weights).sum(dim=1)", "each.flatten()[:count]")),
                "bits of the stream",
            ),
        ],
        "calls": [CALLS_UNPACK],
    },
    "a6.allocate": {
        "right": [ALLOCATE, ALLOCATE_PRICE],
        "wrong": [
            (
                """
def allocate(sizes, losses, budget):
    for bits in (8, 6, 5, 4, 3, 2):
        if bits * sum(sizes) <= budget:
            return [bits for _ in sizes]
""",
                "same width",
            ),
            (
                "def allocate(sizes, losses, budget):\n    return [2 for _ in sizes]",
                "Nothing is spent",
            ),
            (spoil(IN_TURN, ("ORDER", "range(len(sizes))")), "in front"),
            (
                spoil(IN_TURN, ("ORDER", "sorted(range(len(sizes)), key=sizes.__getitem__)")),
                "smallest",
            ),
            (
                spoil(IN_TURN, ("ORDER", "sorted(range(len(sizes)), key=lambda k: -sizes[k])")),
                "largest tensors",
            ),
            (
                spoil(IN_TURN, ("ORDER", "sorted(range(len(sizes)), key=lambda k: -losses[k][0])")),
                "largest loss",
            ),
            (
                spoil(
                    ALLOCATE,
                    (
                        "chosen = [2] *",
                        ALIKE,
                    ),
                ),
                "widths alike",
            ),
            (spoil(ALLOCATE, ("saved / more", "-saved / more")), "saves the least"),
            (spoil(ALLOCATE, ("chosen = [2] *", "budget *= 8\n    chosen = [2] *")), "8 times"),
        ],
    },
}

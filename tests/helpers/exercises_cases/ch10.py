"""Answers to chapter 10's exercises, written apart from them: right ones and wrong ones."""


def weights_by_group(linear, other, bits, group):
    groups = linear / group
    return linear * bits / 8 + groups * 2 + groups * bits / 8 + other * 2


def cache_by_layer(layers, heads, kv_heads, hidden, tokens):
    width = hidden // heads * kv_heads
    keys = values = width * tokens * 2
    return sum(keys + values for _ in range(layers))


def longest_by_steps(memory, weights, per_token, batch):
    if weights > memory:
        return 0
    return int((memory - weights) / batch / per_token)


def one_step(bandwidth, weights, cache, batch):
    seconds = weights / bandwidth + batch * cache / bandwidth
    return batch / seconds


def left(linear, other, adapters, card, bits=4.127, gib=1024**3, trained=12, rest=16):
    used = (linear * bits + other * rest) / 8 + trained * adapters
    return card * gib - used


CASES = {
    "ch10.weights": {
        "right": [weights_by_group],
        "wrong": [
            (lambda n, o, b, g: weights_by_group(n, o, b, 1e18), "scales and zero-points are"),
            (lambda n, o, b, g: n * b / 8 + n / g * 2 + 2 * o, "zero-points are missing; each"),
            (lambda n, o, b, g: weights_by_group(n, 0, b, g) + o * b / 8, "stay in 16"),
            (lambda n, o, b, g: weights_by_group(n, 0, b, g), "parameters are missing"),
            (lambda n, o, b, g: 8 * weights_by_group(n, o, b, g), "Divide by 8"),
        ],
    },
    "ch10.cache": {
        "right": [cache_by_layer],
        "wrong": [
            (lambda n, h, k, d, t: cache_by_layer(n, h, h, d, t), "of its own here"),
            (lambda n, h, k, d, t: cache_by_layer(n, h, k, d, t) // 2, "one of the two"),
            (lambda n, h, k, d, t: cache_by_layer(n, k, h, d, t), "makes the heads wider"),
            (lambda n, h, k, d, t: cache_by_layer(n, h, k, d, t) // 4, "multiply by 4"),
            (lambda n, h, k, d, t: cache_by_layer(1, h, k, d, t), "one layer"),
        ],
    },
    "ch10.context": {
        "right": [longest_by_steps],
        "wrong": [
            (lambda m, w, p, b: (m - w) // p // b, "not a negative number"),
            (lambda m, w, p, b: longest_by_steps(m, w, p, 1), "divide by batch too"),
            (lambda m, w, p, b: longest_by_steps(m, 0, p, b), "subtract them"),
            (lambda m, w, p, b: -min(0, (w - m) // (p * b)), "rounded up"),
            (lambda m, w, p, b: b * longest_by_steps(m, w, p, b), "how long each"),
        ],
    },
    "ch10.speed": {
        "right": [one_step],
        "wrong": [
            (lambda s, w, c, b: one_step(s, w, c, b) / b, "Multiply by batch"),
            (lambda s, w, c, b: one_step(s, b * w, c, b), "not once for each"),
            (lambda s, w, c, b: one_step(s, w, c / b, b), "batch x cache"),
            (lambda s, w, c, b: one_step(s, w, 0, b), "caches are read as well"),
            (lambda s, w, c, b: 1 / one_step(s, w, c, b), "upside down"),
        ],
    },
    "ch10.qlora": {
        "right": [left],
        "wrong": [
            (lambda n, o, a, c: left(n, o, a, c, gib=10**9), "not 24e9"),
            (lambda n, o, a, c: left(n, o, a, c, rest=4.127), "2 bytes each"),
            (lambda n, o, a, c: left(n, o, a, c, trained=4), "moments are missing"),
            (lambda n, o, a, c: left(n, o, a, c, bits=4), "not 4: its scales"),
            (lambda n, o, a, c: left(n, o, a, c) - 10 * (n + o), "neither gradients nor"),
        ],
    },
}

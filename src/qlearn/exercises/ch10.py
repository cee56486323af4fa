"""Chapter 10: bytes of weights and of the cache, the largest context, the speed, one card."""

from __future__ import annotations

from math import ceil

from qlearn.teach.checks.checker import Exercise

GIB = 2**30
NF4_BITS = 4.127


def _weights(linear: int, other: int, bits: int, group: int) -> float:
    return (linear * (bits + (16 + bits) / group) + other * 16) / 8


def _cache(layers: int, heads: int, kv_heads: int, hidden: int, tokens: int) -> int:
    return 2 * layers * kv_heads * (hidden // heads) * 2 * tokens


def _context(memory: int, weights: int, per_token: int, batch: int) -> int:
    return max(0, (memory - weights) // (per_token * batch))


def _speed(bandwidth: float, weights: float, cache: float, batch: int) -> float:
    return batch * bandwidth / (weights + batch * cache)


def _spare(linear: int, other: int, adapters: int, card: float) -> float:
    return card * GIB - linear * NF4_BITS / 8 - other * 2 - adapters * (2 + 2 + 8)


SIZES_7B = (6_476_005_376, 262_410_240)  # Llama 2 7B: linear layers in the blocks, and the rest
SIZES_65B = (64_760_053_760, 525_606_912)  # LLaMA 65B

EXERCISES = [
    Exercise(
        id="ch10.weights",
        task="Write `weight_bytes(linear, other, bits, group)`: bytes of `linear` weights in "
        "groups of `group`, each group with a 16-bit scale and a zero-point of `bits` bits, and of "
        "`other` parameters in 16 bit.",
        expected=_weights,
        cases=((*SIZES_7B, 4, 64), (1_000_000, 50_000, 3, 32), (4096, 0, 8, 128)),
        mistakes={
            "The scales and zero-points are missing: each group adds 16 + bits bits.": (
                lambda linear, other, bits, group: (linear * bits + other * 16) / 8
            ),
            "The zero-points are missing; each takes `bits` bits a group.": (
                lambda linear, other, bits, group: (linear * (bits + 16 / group) + other * 16) / 8
            ),
            "The other parameters are counted at `bits` bits too. They stay in 16.": (
                lambda linear, other, bits, group: (
                    (linear * (bits + (16 + bits) / group) + other * bits) / 8
                )
            ),
            "The other parameters are missing: embedding, head and norms take 2 bytes each.": (
                lambda linear, other, bits, group: linear * (bits + (16 + bits) / group) / 8
            ),
            "These are bits. Divide by 8.": (
                lambda linear, other, bits, group: (
                    linear * (bits + (16 + bits) / group) + other * 16
                )
            ),
        },
        unit="bytes",
        hint="Bits a weight: bits + (16 + bits) / group. Then the rest in 16 bit, all over 8.",
    ),
    Exercise(
        id="ch10.cache",
        task="Write `cache_bytes(layers, heads, kv_heads, hidden, tokens)`: bytes of the KV cache "
        "in 16 bit, where each of `heads` query heads is `hidden // heads` wide.",
        expected=_cache,
        cases=((32, 32, 32, 4096, 1), (32, 32, 8, 4096, 4096), (30, 9, 3, 576, 100)),
        mistakes={
            "Every query head has keys of its own here. Only `kv_heads` are kept.": (
                lambda layers, heads, kv_heads, hidden, tokens: 4 * layers * hidden * tokens
            ),
            "That is one of the two. Keys are kept, and values too.": (
                lambda layers, heads, kv_heads, hidden, tokens: (
                    2 * layers * kv_heads * (hidden // heads) * tokens
                )
            ),
            "The head's width is hidden // heads; dividing by kv_heads makes the heads wider.": (
                lambda layers, heads, kv_heads, hidden, tokens: (
                    4 * layers * heads * (hidden // kv_heads) * tokens
                )
            ),
            "Keys and values are two, and each number has 2 bytes: multiply by 4.": (
                lambda layers, heads, kv_heads, hidden, tokens: (
                    layers * kv_heads * (hidden // heads) * tokens
                )
            ),
            "That is one layer. Each layer keeps its own.": (
                lambda layers, heads, kv_heads, hidden, tokens: (
                    4 * kv_heads * (hidden // heads) * tokens
                )
            ),
        },
        unit="bytes",
        hint="Layers x KV heads x width of a head x 2 (keys, values) x 2 bytes x tokens.",
    ),
    Exercise(
        id="ch10.context",
        task="Write `largest(memory, weights, per_token, batch)`: the most tokens that each of "
        "`batch` sequences may have, when a token's cache takes `per_token` bytes.",
        expected=_context,
        cases=(
            (12 * GIB, 4_000_000_000, 131_072, 1),
            (24 * GIB, 16_000_000_000, 524_288, 8),
            (12 * GIB, 34_500_000_000, 327_680, 1),
            (1000, 100, 7, 2),
        ),
        mistakes={
            "Where the weights alone are too large the answer is 0, not a negative number.": (
                lambda memory, weights, per_token, batch: (memory - weights) // (per_token * batch)
            ),
            "Each sequence of the batch has a cache of its own: divide by batch too.": (
                lambda memory, weights, per_token, batch: max(0, (memory - weights) // per_token)
            ),
            "The weights take their part first: subtract them from the memory.": (
                lambda memory, weights, per_token, batch: memory // (per_token * batch)
            ),
            "That is rounded up: the last token does not fit. Round down.": (
                lambda memory, weights, per_token, batch: max(
                    0, ceil((memory - weights) / (per_token * batch))
                )
            ),
            "That is all sequences together; the question is how long each may be.": (
                lambda memory, weights, per_token, batch: max(
                    0, (memory - weights) // (per_token * batch) * batch
                )
            ),
        },
        unit="tokens",
        hint="What the weights leave, divided by the bytes of one token of all sequences.",
    ),
    Exercise(
        id="ch10.speed",
        task="Write `bound(bandwidth, weights, cache, batch)`: tokens a second at the most, of all "
        "sequences together. A step reads `weights` bytes once, and `cache` bytes a sequence.",
        expected=_speed,
        cases=(
            (1008e9, 4.3e9, 0.5e9, 1),
            (68e9, 4.3e9, 2.1e9, 8),
            (3350e9, 35e9, 1.3e9, 32),
        ),
        mistakes={
            "Steps a second: each step gives every sequence a token. Multiply by batch.": (
                lambda bandwidth, weights, cache, batch: bandwidth / (weights + batch * cache)
            ),
            "The weights are read once for all sequences, not once for each.": (
                lambda bandwidth, weights, cache, batch: bandwidth / (weights + cache)
            ),
            "Every sequence's cache is read: batch x cache, not one.": (
                lambda bandwidth, weights, cache, batch: batch * bandwidth / (weights + cache)
            ),
            "The caches are read as well as the weights.": (
                lambda bandwidth, weights, cache, batch: batch * bandwidth / weights
            ),
            "That is upside down: seconds a token.": (
                lambda bandwidth, weights, cache, batch: (
                    (weights + batch * cache) / (batch * bandwidth)
                )
            ),
        },
        unit="tokens a second",
        hint="Bytes of one step: weights + batch x cache. Tokens of one step: batch.",
    ),
    Exercise(
        id="ch10.qlora",
        task="Write `spare(linear, other, adapters, card)`: bytes that QLoRA leaves free on a card "
        "of `card` GiB, negative where it does not fit. `linear` weights take 4.127 bits, `other` "
        "parameters 16; each adapter number 2 bytes, 2 for its gradient, 8 for AdamW.",
        expected=_spare,
        cases=(
            (*SIZES_7B, 160_000_000, 8.0),
            (*SIZES_65B, 800_000_000, 24.0),
            (*SIZES_65B, 800_000_000, 48.0),
        ),
        mistakes={
            "A card of 24 GB has 24 GiB: 24 x 2**30 bytes, not 24e9.": (
                lambda linear, other, adapters, card: (
                    card * 1e9 - linear * NF4_BITS / 8 - other * 2 - adapters * 12
                )
            ),
            "The other parameters are in 16 bit: 2 bytes each, not 4.127 bits.": (
                lambda linear, other, adapters, card: (
                    card * GIB - (linear + other) * NF4_BITS / 8 - adapters * 12
                )
            ),
            "AdamW's two moments are missing: 8 bytes an adapter number.": (
                lambda linear, other, adapters, card: (
                    card * GIB - linear * NF4_BITS / 8 - other * 2 - adapters * 4
                )
            ),
            "The base takes 4.127 bits, not 4: its scales are there too.": (
                lambda linear, other, adapters, card: (
                    card * GIB - linear / 2 - other * 2 - adapters * 12
                )
            ),
            "The frozen base has neither gradients nor moments.": (
                lambda linear, other, adapters, card: (
                    card * GIB
                    - linear * NF4_BITS / 8
                    - other * 2
                    - adapters * 2
                    - (linear + other + adapters) * 10
                )
            ),
        },
        unit="bytes",
        hint="card * 2**30, less linear * 4.127 / 8, less 2 * other, less 12 * adapters.",
    ),
]

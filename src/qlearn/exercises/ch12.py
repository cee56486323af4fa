"""Chapter 12: bits of a configuration, bytes of a file, an old call, the head, a roofline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qlearn.teach.checks.checker import Exercise

Settings = Mapping[str, Any]
Tensors = list[tuple[int, str]]

# Weights and bytes of a block, as ggml defines them.
BLOCKS = {
    "F32": (1, 4),
    "F16": (1, 2),
    "Q8_0": (32, 34),
    "Q4_0": (32, 18),
    "Q4_1": (32, 20),
    "Q4_K": (256, 144),
    "Q6_K": (256, 210),
}


def _bits(config: Settings, scale: int = 16, zero: bool = True) -> float:
    shared = scale + (config["bits"] if zero else 0)
    return float(config["bits"] + shared / config["group_size"])


def _file_bytes(tensors: Tensors, blocks: Mapping[str, tuple[int, int]]) -> float:
    return sum(weights / blocks[kind][0] * blocks[kind][1] for weights, kind in tensors)


def _by_name(tensors: Tensors, blocks: Mapping[str, tuple[int, int]]) -> float:
    """The number in a type's name, taken for all of its bits."""
    return sum(weights * int(kind.lstrip("FQ").split("_")[0]) / 8 for weights, kind in tensors)


def _largest_alone(tensors: Tensors, blocks: Mapping[str, tuple[int, int]]) -> float:
    weights, bytes_ = blocks[max(tensors)[1]]
    return sum(count for count, _ in tensors) / weights * bytes_


def _mean(tensors: Tensors, blocks: Mapping[str, tuple[int, int]]) -> float:
    """Each type counts alike, however many weights it has."""
    mean = sum(blocks[kind][1] / blocks[kind][0] for _, kind in tensors) / len(tensors)
    return sum(weights for weights, _ in tensors) * mean


def _today(arguments: Settings, quantized: bool) -> dict[str, Any]:
    inner = {k: v for k, v in arguments.items() if k.startswith(("load_in_", "bnb_"))}
    outer = {k: v for k, v in arguments.items() if k not in inner}
    return outer if quantized or not inner else {**outer, "quantization_config": inner}


def _today_flag_alone(arguments: Settings, quantized: bool) -> dict[str, Any]:
    inner = {k: v for k, v in arguments.items() if k.startswith("load_in_")}
    outer = {k: v for k, v in arguments.items() if k not in inner}
    return outer if quantized or not inner else {**outer, "quantization_config": inner}


def _today_always(arguments: Settings, quantized: bool) -> dict[str, Any]:
    return {"quantization_config": {}, **_today(arguments, quantized)}


def _today_doubled(arguments: Settings, quantized: bool) -> dict[str, Any]:
    return {**arguments, **_today(arguments, quantized)}


def _today_bare(arguments: Settings, quantized: bool) -> dict[str, Any]:
    found = _today(arguments, quantized)
    return {k: v for k, v in found.items() if k == "quantization_config"}


def _head(config: Settings) -> bool:
    if config["quant_method"] == "gptq":
        return bool(config.get("lm_head", False))
    if config["quant_method"] == "compressed-tensors":
        return "lm_head" not in config.get("ignore", [])
    skips = config.get("llm_int8_skip_modules")
    return skips is not None and "lm_head" not in skips


def _head_by_lists(config: Settings) -> bool:
    """As if bitsandbytes skipped nothing without a list."""
    if config["quant_method"] == "bitsandbytes":
        return "lm_head" not in (config.get("llm_int8_skip_modules") or [])
    return _head(config)


def _head_any_list(config: Settings) -> bool:
    """As if a list of bitsandbytes' were added to the head."""
    return config["quant_method"] != "bitsandbytes" and _head(config)


def _head_gptq(config: Settings) -> bool:
    return bool(config.get("lm_head", True)) if "gptq" in config["quant_method"] else _head(config)


def _head_ignored(config: Settings) -> bool:
    """As if compressed-tensors kept the head without being told."""
    if config["quant_method"] == "compressed-tensors":
        return "lm_head" not in config.get("ignore", ["lm_head"])
    return _head(config)


def _speed(
    weights: float,
    bits: float,
    bandwidth: float,
    operations: float,
    batch: int,
    per_weight: int = 2,
    join: Callable[[float, float], float] = max,
) -> float:
    """Tokens a second of all sequences, by the longer of reading and computing."""
    return batch / join(weights * bits / 8 / bandwidth, per_weight * weights * batch / operations)


MIXED = [(113_246_208, "Q4_K"), (8_388_608, "Q6_K"), (30_081_024, "Q8_0"), (35_136, "F32")]
CASES = (
    (MIXED, BLOCKS),
    ([(106_168_320, "Q4_1"), (28_311_552, "Q8_0"), (35_136, "F32")], BLOCKS),
    ([(1024, "Q4_0"), (4096, "F16")], BLOCKS),
)
CALLS = (
    ({"load_in_4bit": True}, False),
    ({"load_in_8bit": True, "device_map": "auto"}, False),
    ({"load_in_4bit": True, "device_map": "auto"}, True),
    ({"device_map": "auto", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, False),
    ({"dtype": "bfloat16"}, False),
)
HEADS = (
    ({"quant_method": "gptq", "bits": 4, "lm_head": True},),
    ({"quant_method": "gptq", "bits": 4},),
    ({"quant_method": "compressed-tensors", "ignore": ["lm_head"]},),
    ({"quant_method": "compressed-tensors", "ignore": ["model.layers.0.mlp.gate"]},),
    ({"quant_method": "compressed-tensors"},),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True},),
    ({"quant_method": "bitsandbytes", "llm_int8_skip_modules": ["lm_head", "model.norm"]},),
    ({"quant_method": "bitsandbytes", "llm_int8_skip_modules": ["model.layers.0"]},),
    ({"quant_method": "bitsandbytes", "llm_int8_skip_modules": None},),
)
ROOFS = (
    (1.35e8, 32, 2e10, 2e11, 1),
    (1.35e8, 4.5, 2e10, 2e11, 1),
    (1.35e8, 4.5, 2e10, 2e11, 8),
    (7e9, 16, 1e12, 1.6e14, 512),
    (7e9, 4, 1e12, 1.6e14, 16),
)

EXERCISES = [
    Exercise(
        id="ch12.bits",
        task="Write `bits_per_weight(config)` for GPTQ's `quantization_config`, a dict with `bits` "
        "and `group_size`: the code's bits and the weight's share of what its group stores. A "
        "group has one scale in float16 and one zero-point of `bits` bits, symmetric or not.",
        expected=_bits,
        cases=(
            ({"bits": 4, "group_size": 128, "sym": True},),
            ({"bits": 4, "group_size": 32, "sym": False},),
            ({"bits": 8, "group_size": 64, "sym": True},),
            ({"bits": 3, "group_size": 128, "sym": False},),
        ),
        mistakes={
            "The zero-points are missing. GPTQ's files hold them for symmetric grids too.": (
                lambda config: _bits(config, zero=False)
            ),
            "The zero-points are counted for asymmetric grids alone; GPTQ's files always hold "
            "them.": lambda config: _bits(config, zero=not config["sym"]),
            "The scale is counted in float32; GPTQ's files hold float16.": lambda config: _bits(
                config, scale=32
            ),
            "These are the codes alone. A group's scale and zero-point are stored too.": (
                lambda config: config["bits"]
            ),
            "A scale belongs to a whole group: divide its bits by the group size.": (
                lambda config: config["bits"] + 16 + config["bits"]
            ),
        },
        hint="bits + (16 + bits) / group_size.",
    ),
    Exercise(
        id="ch12.bytes",
        task="Write `file_bytes(tensors, blocks)`: how many bytes the tensors of a GGUF file take. "
        "A tensor is `(weights, type)`; `blocks` maps a type to the weights and the bytes of one "
        "block.",
        expected=_file_bytes,
        cases=CASES,
        mistakes={
            "The number in a type's name counts codes alone; take weights and bytes of a block.": (
                _by_name
            ),
            "Every weight is counted in the largest tensor's type. A file mixes types: add up "
            "tensor by tensor.": _largest_alone,
            "Each type counts alike here. A type with more weights takes more of the file.": _mean,
            "A block's bytes are multiplied with the weights. There are weights / 32 blocks, or "
            "weights / 256.": lambda tensors, blocks: sum(
                count * blocks[kind][1] for count, kind in tensors
            ),
            "These are bits. A block's size is given in bytes already.": lambda tensors, blocks: (
                8 * _file_bytes(tensors, blocks)
            ),
        },
        hint="sum(weights / block_weights * block_bytes).",
    ),
    Exercise(
        id="ch12.today",
        task="Write `today(arguments, quantized)`: what `from_pretrained` takes today in the place "
        "of old keywords. `load_in_...` and `bnb_...` go into a dict `quantization_config`; if the "
        "checkpoint is `quantized` already they are left out; all others stay.",
        expected=_today,
        cases=CALLS,
        mistakes={
            "The old keywords are still there: a model's constructor gets them, and raises a "
            "TypeError.": lambda arguments, quantized: dict(arguments),
            "The keywords stand in the new place and in the old one. Move them.": _today_doubled,
            "A quantized checkpoint brings its own configuration; another method's raises a "
            "ValueError. Leave it out.": lambda arguments, quantized: _today(arguments, False),
            "Keywords of bitsandbytes such as bnb_4bit_quant_type belong into the configuration, "
            "too.": _today_flag_alone,
            "Where no keyword asks for quantization there is no quantization_config either.": (
                _today_always
            ),
            "Other keywords, such as device_map, are lost. They stay as they are.": _today_bare,
        },
        hint="Split the arguments by their first letters: key.startswith(('load_in_', 'bnb_')).",
    ),
    Exercise(
        id="ch12.head",
        task="Write `head_quantized(config)`: does this `quantization_config` quantize the output "
        "head `lm_head`? GPTQ: as `lm_head` says, no where it is missing. compressed-tensors: yes "
        "unless `ignore` lists it. bitsandbytes: without `llm_int8_skip_modules`, or with None, "
        "no; a list takes the default's place.",
        expected=_head,
        cases=HEADS,
        mistakes={
            "bitsandbytes without a list keeps the head in floats: that is transformers' "
            "default.": _head_by_lists,
            "A list of bitsandbytes' takes the default's place: a head that is not in it is "
            "quantized.": _head_any_list,
            "GPTQ keeps the head in floats where the configuration says nothing.": _head_gptq,
            "compressed-tensors quantizes every linear layer that `ignore` does not list, the "
            "head included.": _head_ignored,
            "That is the opposite: you tell whether the head is kept.": lambda config: (
                not _head(config)
            ),
        },
        hint="One branch a method; config.get(...) tells a missing entry from an empty one.",
    ),
    Exercise(
        id="ch12.roofline",
        task="Write `speed(weights, bits, bandwidth, operations, batch)`: tokens a second of all "
        "`batch` sequences by the roofline. A step reads every weight once and needs two "
        "operations a weight and sequence; the longer of the two takes the time.",
        expected=_speed,
        cases=ROOFS,
        mistakes={
            "A weight needs two operations a sequence: multiply and add.": (
                lambda w, b, r, o, n: _speed(w, b, r, o, n, per_weight=1)
            ),
            "Reading and computing overlap: the longer takes the time, not their sum.": (
                lambda w, b, r, o, n: _speed(w, b, r, o, n, join=lambda x, y: x + y)
            ),
            "The shorter of the two was taken. The longer one takes the time.": (
                lambda w, b, r, o, n: _speed(w, b, r, o, n, join=min)
            ),
            "The bits are taken for bytes: divide by 8.": (
                lambda w, b, r, o, n: _speed(w, 8 * b, r, o, n)
            ),
            "That is one sequence's. A step writes a token for each of them.": (
                lambda w, b, r, o, n: _speed(w, b, r, o, n) / n
            ),
            "The weights are read once for the whole batch, not once for each sequence.": (
                lambda w, b, r, o, n: n / max(n * w * b / 8 / r, 2 * w * n / o)
            ),
        },
        hint="batch / max(bytes / bandwidth, 2 * weights * batch / operations).",
    ),
]

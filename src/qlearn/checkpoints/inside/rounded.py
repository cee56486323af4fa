"""Reads the configurations of what is rounded while it loads, and of checkpoints in small floats.

Defaults are those of transformers' own configuration classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from qlearn.checkpoints.inside.fields import Inside, group, head_in, names, whole, with_scales

Config = Mapping[str, Any]
SKIPS = ("modules_to_not_convert", "ignored_layers", "skip_modules", "llm_int8_skip_modules")


def bitsandbytes(config: Config) -> Inside:
    """NF4 or FP4 in blocks of 64, or LLM.int8(), which keeps outlier columns in 16 bits."""
    four = bool(config.get("load_in_4bit", config.get("_load_in_4bit", False)))
    eight = bool(config.get("load_in_8bit", config.get("_load_in_8bit", False)))
    if four == eight:
        raise ValueError(
            f"quantization_config has load_in_4bit={four} and load_in_8bit={eight}; "
            "one of them must be set"
        )
    if eight:
        threshold = config.get("llm_int8_threshold", 6.0)
        return _plain(
            config, "bitsandbytes", bits=8, granularity="row", symmetric=True, bits_per_weight=8.0,
            activations=f"INT8, those above {threshold} in 16 bits",
        )  # fmt: skip
    kind = str(config.get("bnb_4bit_quant_type", "fp4")).lower()
    if kind not in ("nf4", "fp4"):
        raise ValueError(f"bnb_4bit_quant_type={kind!r} is not known; 'nf4' and 'fp4' are")
    nested = bool(config.get("bnb_4bit_use_double_quant", False))
    # The scales' own 8-bit codes share one float32 a 256.
    scale = with_scales(8, 256, 32) if nested else 32
    size = int(config.get("qlearn_block_size", 64))
    return _plain(
        config, "bitsandbytes", kind=kind[:2].upper(), bits=4, granularity="group",
        group_size=size, bits_per_weight=with_scales(4, size, scale),
        note="its scales quantized too" if nested else "",
    )  # fmt: skip


def hqq(config: Config) -> Inside:
    """HQQ's; older files nest the settings of the weights."""
    settings = config.get("quant_config", config)
    settings = settings.get("weight_quant_params", settings)
    if "nbits" not in settings:
        return _plain(config, "hqq", note="each layer with bits of its own")
    bits = whole(settings, "nbits", 1, 8)
    granularity, size = group(settings)
    return _plain(
        config, "hqq", bits=bits, granularity=granularity, group_size=size, symmetric=False,
        bits_per_weight=with_scales(bits, size, 32),
    )  # fmt: skip


def quanto(config: Config) -> Inside:
    """optimum-quanto's: a type a weight, and one for inputs."""
    weights = str(config.get("weights", "int8"))
    kinds = {"int8": 8, "int4": 4, "int2": 2, "float8": 8}
    if weights not in kinds:
        raise ValueError(f"weights={weights!r} is not known; {', '.join(kinds)} are")
    return _plain(
        config, "quanto", kind="FP" if weights == "float8" else "INT", bits=kinds[weights],
        granularity="row" if kinds[weights] == 8 else "group",
        activations=str(config.get("activations") or ""),
    )  # fmt: skip


def torchao(config: Config) -> Inside:
    """torchao's: the name of its own configuration class says what is inside."""
    quant_type: Any = config.get("quant_type")
    if isinstance(quant_type, Mapping):
        quant_type = quant_type.get("default", quant_type)
    named = quant_type.get("_type") if isinstance(quant_type, Mapping) else quant_type
    data = quant_type.get("_data", {}) if isinstance(quant_type, Mapping) else config
    if not isinstance(named, str):
        raise ValueError(
            f"quant_type={quant_type!r:.60} names no configuration of torchao; fetch it again"
        )
    plain = named.lower().replace("_", "")
    weight = plain.split("activation")[-1]
    bits = next((n for n in (8, 4, 2, 1) if f"int{n}" in weight or f"float{n}" in weight), None)
    size = data.get("group_size")
    inputs = next((n for n in ("int8", "float8", "int4") if f"{n}dynamicactivation" in plain), "")
    return _plain(
        config, "torchao", kind="FP" if "float" in weight else "INT", bits=bits,
        granularity="group" if size else "row", group_size=size,
        activations=f"{inputs.replace('float', 'FP').upper()} while it runs" if inputs else "",
        bits_per_weight=with_scales(bits, size, 32) if bits and size else bits,
        note=f"its class is {named}",
    )  # fmt: skip


def fp8(config: Config) -> Inside:
    """FP8 in blocks with a scale each, as DeepSeek's; without blocks one scale a tensor."""
    block = config.get("weight_block_size", (128, 128))
    if block is not None and (
        not isinstance(block, list | tuple)
        or len(block) != 2
        or not all(isinstance(n, int) and n > 0 for n in block)
    ):
        raise ValueError(
            f"weight_block_size={block!r} is not two sizes such as [128, 128]; fetch it again"
        )
    size = prod(block) if block else None
    scale = 8 if config.get("scale_fmt") == "ue8m0" else 32
    when = "while it runs" if config.get("activation_scheme", "dynamic") == "dynamic" else "fixed"
    return _plain(
        config, str(config["quant_method"]), kind="FP", bits=8,
        granularity="block" if size else "tensor", group_size=size, activations=f"FP8 {when}",
        bits_per_weight=with_scales(8, size, scale),
    )  # fmt: skip


def _plain(config: Config, method: str, **fields: Any) -> Inside:
    kept = names(config, *SKIPS)
    return Inside(method=method, kept=kept or ("lm_head",), head_quantized=head_in(kept), **fields)


def _fixed(method: str, **fields: Any) -> Callable[[Config], Inside]:
    """A reader for a method of one form alone."""
    return lambda config: _plain(config, method, **fields)


def _codebook(method: str) -> Callable[[Config], Inside]:
    """A reader for a method of vectors or of nested codes: bits where they are said."""

    def read(config: Config) -> Inside:
        bits = whole(config, "bits", 1, 8) if "bits" in config else None
        return _plain(config, method, kind="codebook", bits=bits)

    return read


READERS: dict[str, Callable[[Config], Inside]] = {
    "bitsandbytes": bitsandbytes,
    "hqq": hqq,
    "quanto": quanto,
    "torchao": torchao,
    "fp8": fp8,
    "mxfp8": fp8,
    "mxfp4": _fixed(
        "mxfp4", kind="FP", bits=4, granularity="group", group_size=32, bits_per_weight=4.25,
        note="dequantized where its kernels can't run",
    ),
    "nvfp4": _fixed(
        "nvfp4", kind="FP", bits=4, granularity="group", group_size=16, bits_per_weight=4.5
    ),
    "fbgemm_fp8": _fixed(
        "fbgemm_fp8", kind="FP", bits=8, granularity="row", bits_per_weight=8.0,
        activations="FP8 while it runs",
    ),
    "eetq": _fixed("eetq", bits=8, granularity="row", symmetric=True, bits_per_weight=8.0),
    "bitnet": _fixed(
        "bitnet", kind="ternary", granularity="tensor", bits_per_weight=2.0,
        activations="INT8 while it runs", note="-1, 0 and 1, which need 1.58 bits, in 2",
    ),
    "higgs": _codebook("higgs"),
    "aqlm": _codebook("aqlm"),
    "vptq": _codebook("vptq"),
    "spqr": _codebook("spqr"),
    "quark": _codebook("quark"),
}  # fmt: skip

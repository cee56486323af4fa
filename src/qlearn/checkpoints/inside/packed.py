"""Reads the configurations of integer checkpoints: GPTQ, AWQ, AutoRound, compressed-tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qlearn.checkpoints.inside.fields import Inside, group, names, whole, with_scales

Config = Mapping[str, Any]
FLOAT16 = 16  # bits of a scale in these formats


def gptq(config: Config) -> Inside:
    """GPTQ's; zero-points are stored whether the grid is symmetric or not."""
    bits = whole(config, "bits", 2, 8)
    granularity, size = group(config)
    # A pattern with "-:" takes layers out; optimum lists those that are in.
    out = tuple(k.removeprefix("-:") for k in config.get("dynamic") or {} if k.startswith("-:"))
    head = bool(config.get("lm_head", False))
    version = str(config.get("checkpoint_format") or config.get("format") or "gptq")
    return Inside(
        method="gptq",
        bits=bits,
        granularity=granularity,
        group_size=size,
        symmetric=bool(config.get("sym", True)),
        act_order=bool(config.get("desc_act", False)),
        kept=out if head else (*out, "lm_head"),
        head_quantized=head,
        bits_per_weight=with_scales(bits, size, FLOAT16 + bits),
        note="" if version == "gptq" else f"in the layout {version}",
    )


def awq(config: Config) -> Inside:
    """AWQ's; older files say ``w_bit`` and ``q_group_size``, and the head is always kept."""
    known = {
        "bits": config.get("bits", config.get("w_bit")),
        "group_size": config.get("group_size", config.get("q_group_size")),
    }
    bits = whole(known, "bits", 2, 8)
    granularity, size = group(known)
    zero_point = bool(config.get("zero_point", True))
    version = str(config.get("version") or config.get("format") or "gemm").lower()
    return Inside(
        method="awq",
        bits=bits,
        granularity=granularity,
        group_size=size,
        symmetric=bool(config.get("sym", not zero_point)),
        kept=names(config, "modules_to_not_convert") or ("lm_head",),
        bits_per_weight=with_scales(bits, size, FLOAT16 + (bits if zero_point else 0)),
        note="" if version == "gemm" else f"in the layout {version}",
    )


def auto_round(config: Config) -> Inside:
    """AutoRound's own, which stores as GPTQ does."""
    bits = whole(config, "bits", 2, 8)
    granularity, size = group(config)
    return Inside(
        method="auto-round",
        bits=bits,
        granularity=granularity,
        group_size=size,
        symmetric=bool(config.get("sym", True)),
        kept=("lm_head",),
        bits_per_weight=with_scales(bits, size, FLOAT16 + bits),
    )


def compressed_tensors(config: Config) -> Inside:
    """compressed-tensors', written by llm-compressor: its groups of layers, the first in full."""
    groups = config.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise ValueError(
            f"quantization_config has config_groups={groups!r:.60}; groups of layers with their "
            "weights' scheme belong there"
        )
    first = next(iter(groups.values()))
    weights = first.get("weights") if isinstance(first, Mapping) else None
    if not isinstance(weights, Mapping):
        raise ValueError(
            f"config_groups has weights={weights!r:.60} in its first group; a scheme belongs there"
        )
    bits = whole(weights, "num_bits", 1, 16)
    kind = {"int": "INT", "float": "FP"}.get(str(weights.get("type", "int")), "codebook")
    symmetric = bool(weights.get("symmetric", True))
    granularity, size = _strategy(weights)
    kept = names(config, "ignore") or ()
    scale = 8 if weights.get("strategy") == "tensor_group" else FLOAT16
    more = len(groups) - 1
    return Inside(
        method="compressed-tensors",
        kind=kind,
        bits=bits,
        granularity=granularity,
        group_size=size,
        symmetric=symmetric,
        act_order=weights.get("actorder") in (True, "group", "dynamic"),
        activations=_activations(first.get("input_activations")),
        kept=kept,
        head_quantized=not any("lm_head" in name for name in kept),
        bits_per_weight=with_scales(bits, size, scale + (0 if symmetric else bits)),
        note=f"and {more} further groups of layers with their own scheme" if more else "",
    )


def _strategy(weights: Config) -> tuple[str, int | None]:
    strategy = str(weights.get("strategy") or ("group" if weights.get("group_size") else "tensor"))
    if strategy == "channel":
        return "row", None
    if strategy in ("group", "tensor_group"):
        return "group", whole(weights, "group_size", 1, 1 << 20)
    if strategy == "block":
        structure = weights.get("block_structure")
        if not isinstance(structure, list | tuple) or len(structure) != 2:
            raise ValueError(
                f"block_structure={structure!r} is not two sizes such as [128, 128]; "
                "fetch the file again"
            )
        return "block", int(structure[0]) * int(structure[1])
    if strategy != "tensor":
        raise ValueError(
            f"strategy={strategy!r} is unknown; tensor, channel, group, tensor_group and block are"
        )
    return "tensor", None


def _activations(scheme: object) -> str:
    if not isinstance(scheme, Mapping):
        return ""
    kind = "FP" if scheme.get("type") == "float" else "INT"
    when = "while it runs" if scheme.get("dynamic") else "by a fixed scale"
    return f"{kind}{scheme.get('num_bits', 8)} {when}"


READERS = {
    "gptq": gptq,
    "awq": awq,
    "auto-round": auto_round,
    "compressed-tensors": compressed_tensors,
}

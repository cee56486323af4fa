"""What a quantized checkpoint holds, as its configuration says it: fields, and one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# What transformers asks for when it loads a method, besides accelerate.
PACKAGES: dict[str, tuple[str, ...]] = {
    "none": (),
    "gptq": ("gptqmodel", "optimum"),
    "awq": ("gptqmodel",),
    "auto-round": ("auto-round",),
    "bitsandbytes": ("bitsandbytes",),
    "compressed-tensors": ("compressed-tensors",),
    "torchao": ("torchao",),
    "quanto": ("optimum-quanto",),
    "hqq": ("hqq",),
    "fp8": (),
    "mxfp8": (),
    "mxfp4": ("kernels",),
    "nvfp4": ("kernels",),
    "fbgemm_fp8": ("fbgemm-gpu",),
    "eetq": ("kernels",),
    "bitnet": (),
    "higgs": ("flute-kernel",),
    "aqlm": ("aqlm",),
    "vptq": ("vptq",),
    "spqr": ("spqr_quant",),
    "quark": ("quark",),
    "gguf": ("gguf",),
}


@dataclass(frozen=True)
class Inside:
    """What is stored.

    Attributes:
        method: ``quant_method`` as transformers names it; ``"none"`` where nothing is quantized.
        kind: of the codes: ``"INT"``, ``"FP"``, ``"NF"``, ``"ternary"``, ``"codebook"`` or, for
            floats, ``"float"``.
        bits: of one code; ``None`` where the configuration does not say.
        granularity: who shares a scale: ``"group"``, ``"row"``, ``"block"``, ``"tensor"``, or
            ``""`` where that isn't said.
        group_size: weights that share a scale, for groups and blocks.
        symmetric: the grid is centred on 0; ``None`` where that isn't said.
        act_order: columns were rounded by importance, so that groups are not neighbours.
        activations: how inputs are rounded, such as ``"INT8"``; empty where they are not.
        kept: patterns of layers that stay in floats, as the configuration lists them.
        head_quantized: whether the output head is quantized too; ``None`` where that isn't said.
        bits_per_weight: of a quantized layer with its scales and zero-points; what a file adds for
            each row alone (a row's scale, GPTQ's ``g_idx``) depends on sizes and is left out.
        dtype: of what stays in floats, and of the arithmetic.
        note: what else a reader should know.
    """

    method: str
    kind: str = "INT"
    bits: float | None = None
    granularity: str = ""
    group_size: int | None = None
    symmetric: bool | None = None
    act_order: bool = False
    activations: str = ""
    kept: tuple[str, ...] = ()
    head_quantized: bool | None = False
    bits_per_weight: float | None = None
    dtype: str = ""
    note: str = ""

    @property
    def packages(self) -> tuple[str, ...]:
        """What has to be installed beside transformers and accelerate to load it."""
        return PACKAGES[self.method]

    @property
    def sentence(self) -> str:
        """All of it in one sentence."""
        if self.method == "none":
            return f"Not quantized: weights in {self.dtype or 'a float type that is not named'}."
        code = f"{self.kind}{self.bits:g}" if self.bits else f"{self.kind} codes"
        shares = {
            "group": f"groups of {self.group_size}",
            "row": "one scale a row",
            "block": f"blocks of {self.group_size:,} weights" if self.group_size else "blocks",
            "tensor": "one scale a tensor",
        }
        parts = [f"{self.method}: {code}", shares.get(self.granularity, "")]
        if self.symmetric is not None and self.kind == "INT":
            parts.append("symmetric" if self.symmetric else "asymmetric")
        parts.append("act-order" if self.act_order else "")
        parts.append(f"inputs in {self.activations}" if self.activations else "")
        parts.append(f"{self.bits_per_weight:.3g} bits a weight" if self.bits_per_weight else "")
        heads = {True: "output head quantized too", False: "output head in floats", None: ""}
        parts.append(heads[self.head_quantized])
        others = [name for name in self.kept if "lm_head" not in name]
        parts.append(f"also in floats: {', '.join(others)}" if others else "")
        needs = " and ".join(self.packages)
        parts.append(
            f"transformers asks for {needs}" if needs else "transformers loads it by itself"
        )
        parts.append(self.note)
        return ", ".join(part for part in parts if part) + "."


def names(config: Mapping[str, Any], *keys: str) -> tuple[str, ...] | None:
    """The first of these lists that is there; ``None`` where none is.

    Raises:
        ValueError: an entry that is no list of names.
    """
    for key in keys:
        found = config.get(key)
        if found is None:
            continue
        if isinstance(found, str) or not isinstance(found, Sequence):
            raise ValueError(
                f"{key}={found!r:.60} is not a list of layer names; fetch the file again"
            )
        return tuple(map(str, found))
    return None


def head_in(kept: tuple[str, ...] | None) -> bool:
    """Whether the output head is quantized: without a list transformers keeps it in floats."""
    return kept is not None and not any("lm_head" in name for name in kept)


def whole(config: Mapping[str, Any], key: str, least: int, most: int) -> int:
    """An entry that is a whole number within bounds.

    Raises:
        ValueError: where it is missing or something else.
    """
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(
            f"quantization_config has {key}={value!r}; a whole number from {least} to {most} "
            "belongs there"
        )
    return value


def group(config: Mapping[str, Any], key: str = "group_size") -> tuple[str, int | None]:
    """Granularity and group size; ``None`` and -1 mean one scale a row.

    Raises:
        ValueError: another number below 1.
    """
    if config.get(key) is None or config[key] == -1:
        return "row", None
    return "group", whole(config, key, 1, 1 << 20)


def with_scales(bits: float, size: int | None, shared_bits: float) -> float:
    """Bits a weight: the code's, and its share of what ``size`` weights have in common."""
    return bits + (shared_bits / size if size else 0.0)

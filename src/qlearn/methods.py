"""The methods of quantize_model, and the options of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qlearn.codebook import FP4, NF4, Codebook
from qlearn.method_awq import awq_block
from qlearn.method_gptq import gptq_block
from qlearn.sequential import RunBlock

GPTQ_OPTIONS: dict[str, Any] = {
    "act_order": True,
    "damping": 0.01,
    "block_size": 128,
    "static_groups": False,
}
AWQ_OPTIONS: dict[str, Any] = {"clipping": True, "rounding": "rtn"}
CODEBOOK_OPTIONS: dict[str, Any] = {"block_size": 64, "double_quant": False}


@dataclass(frozen=True)
class Method:
    """One way to quantize.

    Attributes:
        run: quantizes a block; ``None`` where each layer is quantized by itself, without text.
        options: what it takes beside the scheme, with the defaults.
        codebook: the levels that it rounds to; ``None`` where a scheme says which grid.
    """

    run: RunBlock | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    codebook: Codebook | None = None

    @property
    def calibrated(self) -> bool:
        """Whether it needs calibration text."""
        return self.run is not None


METHODS = {
    "rtn": Method(),
    "gptq": Method(gptq_block, GPTQ_OPTIONS),
    "awq": Method(awq_block, AWQ_OPTIONS),
    "nf4": Method(options=CODEBOOK_OPTIONS, codebook=NF4),
    "fp4": Method(options=CODEBOOK_OPTIONS, codebook=FP4),
}


def options_of(method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a method, those that were not given at their defaults.

    Raises:
        ValueError: for an option that the method does not have, or a value of another kind.

    >>> options_of("awq", {"clipping": False})
    {'clipping': False, 'rounding': 'rtn'}
    """
    known = dict(METHODS[method].options)
    if method == "awq" and given.get("rounding") == "gptq":
        known |= GPTQ_OPTIONS
    for name, value in given.items():
        if name not in known:
            choices = f"choose from {', '.join(known)}" if known else "it takes none"
            raise ValueError(f"{name}={value!r} is not an option of method={method!r}; {choices}")
        kind = type(known[name])
        fits = isinstance(value, int | float) if kind is float else isinstance(value, kind)
        if not fits or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{name}={value!r} is not of the kind of its default, {known[name]!r}")
    settings = {**known, **given}
    if settings.get("rounding", "rtn") not in ("rtn", "gptq"):
        raise ValueError(f"rounding={settings['rounding']!r} is not known; choose 'rtn' or 'gptq'")
    if not 0 <= settings.get("damping", 0) < float("inf"):
        raise ValueError(f"damping={settings['damping']} is not a share; choose 0 or more")
    if settings.get("block_size", 1) < 1:
        raise ValueError(f"block_size={settings['block_size']} is not a count; choose 1 or more")
    return settings

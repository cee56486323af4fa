"""The methods of quantize_model, and the options of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from qlearn.convert.blockwise import RunBlock
from qlearn.convert.checks import check_scheme
from qlearn.convert.int8 import (
    INT8_OPTIONS,
    check_int8_options,
    int8_block,
    int8_layer,
    int8_needs_text,
)
from qlearn.convert.one_block.awq import awq_block
from qlearn.convert.one_block.gptq import gptq_block
from qlearn.models.layers.affine import QuantizedLinear
from qlearn.models.layers.base import CodesLinear
from qlearn.models.layers.codebook import CodebookLinear
from qlearn.models.layers.int8 import SCHEME as INT8_SCHEME
from qlearn.models.layers.int8 import check_int8_scheme
from qlearn.numerics.codebook import FP4, NF4, Codebook, CodebookScheme
from qlearn.numerics.scheme import QuantScheme

GPTQ_OPTIONS: dict[str, Any] = {
    "act_order": True,
    "damping": 0.01,
    "block_size": 128,
    "static_groups": False,
}
AWQ_OPTIONS: dict[str, Any] = {"clipping": True, "rounding": "rtn"}
CODEBOOK_OPTIONS: dict[str, Any] = {"block_size": 64, "double_quant": False}

DEFAULT_SCHEME = QuantScheme(bits=4, symmetric=False, group_size=64)

# (linear layer, grid, options): quantizes it without any text
MakeLayer = Callable[[nn.Module, Any, Mapping[str, Any]], CodesLinear]
# (name of the method, the scheme that was given, options): a QuantScheme or a CodebookScheme
MakeGrid = Callable[[str, QuantScheme | None, Mapping[str, Any]], Any]


def _rounded(linear: nn.Module, grid: QuantScheme, _: Mapping[str, Any]) -> CodesLinear:
    return QuantizedLinear.from_linear(linear, grid)


def _to_levels(linear: nn.Module, grid: CodebookScheme, _: Mapping[str, Any]) -> CodesLinear:
    return CodebookLinear.from_linear(linear, grid)


def _uniform(_: str, scheme: QuantScheme | None, __: Mapping[str, Any]) -> QuantScheme:
    scheme = DEFAULT_SCHEME if scheme is None else scheme
    check_scheme(scheme)
    return scheme


def _of_int8(_: str, scheme: QuantScheme | None, __: Mapping[str, Any]) -> QuantScheme:
    scheme = INT8_SCHEME if scheme is None else scheme
    check_scheme(scheme)
    check_int8_scheme(scheme)
    return scheme


def _levels_of(codebook: Codebook) -> MakeGrid:
    def grid(
        method: str, scheme: QuantScheme | None, settings: Mapping[str, Any]
    ) -> CodebookScheme:
        if scheme is not None:
            raise ValueError(
                f"scheme={scheme} is not used by method={method!r}, whose levels are fixed; leave "
                "it out, and pass block_size=64 and double_quant=True or False"
            )
        return CodebookScheme(codebook, settings["block_size"], settings["double_quant"])

    return grid


@dataclass(frozen=True)
class Method:
    """One way to quantize.

    Attributes:
        run: quantizes a block by what its layers are fed with; ``None`` where none is needed.
        options: what it takes beside the scheme, with the defaults.
        layer: quantizes a layer by itself, without text.
        needs_text: whether some options need ``run`` and its text; ``None`` where all do.
        grid: what it rounds to: from its name, the scheme that was given or ``None``, and the
            options. Raises a ``ValueError`` for a scheme that it does not have.
        resumable: whether finished blocks can be kept in a folder.
    """

    run: RunBlock | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    layer: MakeLayer = _rounded
    needs_text: Callable[[Mapping[str, Any]], bool] | None = None
    grid: MakeGrid = _uniform
    resumable: bool = True

    @property
    def calibrated(self) -> bool:
        """Whether it needs calibration text, whatever the options."""
        return self.run is not None and self.needs_text is None

    def run_with(self, settings: Mapping[str, Any]) -> RunBlock | None:
        """``run``, where these options need it."""
        return self.run if self.needs_text is None or self.needs_text(settings) else None


METHODS = {
    "rtn": Method(),
    "int8": Method(
        int8_block, INT8_OPTIONS, int8_layer, int8_needs_text, _of_int8, resumable=False
    ),
    "gptq": Method(gptq_block, GPTQ_OPTIONS),
    "awq": Method(awq_block, AWQ_OPTIONS),
    "nf4": Method(options=CODEBOOK_OPTIONS, layer=_to_levels, grid=_levels_of(NF4)),
    "fp4": Method(options=CODEBOOK_OPTIONS, layer=_to_levels, grid=_levels_of(FP4)),
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
        number = kind is float or (known[name] is None and value is not None)
        fits = isinstance(value, int | float) if number else isinstance(value, kind)
        if not fits or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{name}={value!r} is not of the kind of its default, {known[name]!r}")
    settings = {**known, **given}
    if method == "int8":
        check_int8_options(settings)
    if settings.get("rounding", "rtn") not in ("rtn", "gptq"):
        raise ValueError(f"rounding={settings['rounding']!r} is not known; choose 'rtn' or 'gptq'")
    if not 0 <= settings.get("damping", 0) < float("inf"):
        raise ValueError(f"damping={settings['damping']} is not a share; choose 0 or more")
    if settings.get("block_size", 1) < 1:
        raise ValueError(f"block_size={settings['block_size']} is not a count; choose 1 or more")
    return settings

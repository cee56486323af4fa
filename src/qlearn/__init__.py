"""qlearn: quantization from FP32 bits to INT4 models, readable and tested.

Each folder is a room, which says in one sentence what it is and lists what is public in it. Names
load on first use, so that ``import qlearn`` takes milliseconds and needs torch alone.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"


def lazily(
    package: str, homes: Mapping[str, Sequence[str]]
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """Make the public names of a package, each loaded when it is first asked for.

    Args:
        package: its dotted name.
        homes: from modules, dotted and below the package, to the names that they define.

    Returns:
        The package's `__all__`, its `__getattr__` and its `__dir__` (PEP 562).
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{home_of[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home_of})

    return sorted(home_of), get, names


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Import, inside the block, packages that an extra of `pyproject.toml` installs.

    Args:
        extra: its name: `"course"`, `"toolbox"`, `"classroom"` or `"dev"`.

    Raises:
        ModuleNotFoundError: a package is missing; one sentence says which, and what installs it.

    >>> with needs("course"):
    ...     import no_such_package
    Traceback (most recent call last):
    ModuleNotFoundError: no_such_package is missing: it comes with qlearn's extra 'course'; run \
`pip install -c constraints.txt -e '.[course]'` in a clone of the course
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "a package").partition(".")[0]
        raise ModuleNotFoundError(
            f"{package} is missing: it comes with qlearn's extra {extra!r}; run "
            f"`pip install -c constraints.txt -e '.[{extra}]'` in a clone of the course",
            name=error.name,
        ) from error


if TYPE_CHECKING:
    from qlearn.checkpoints.load import load_quantized as load_quantized
    from qlearn.checkpoints.save import save_quantized as save_quantized
    from qlearn.convert.model import QuantizationReport as QuantizationReport
    from qlearn.convert.model import copy_for_quantization as copy_for_quantization
    from qlearn.convert.model import quantize_model as quantize_model
    from qlearn.exercises import check as check
    from qlearn.measure.evaluate import compare as compare
    from qlearn.measure.evaluate import kl_divergence as kl_divergence
    from qlearn.measure.evaluate import perplexity as perplexity
    from qlearn.measure.evaluate import top1_agreement as top1_agreement
    from qlearn.measure.memory.inference import estimate_memory as estimate_memory
    from qlearn.models.layers.affine import QuantizedLinear as QuantizedLinear
    from qlearn.models.layers.codebook import CodebookLinear as CodebookLinear
    from qlearn.models.load import load_model as load_model
    from qlearn.models.load import load_tokenizer as load_tokenizer
    from qlearn.models.text import load_reviews as load_reviews
    from qlearn.models.text import load_tokens as load_tokens
    from qlearn.numerics.affine import QuantizedTensor as QuantizedTensor
    from qlearn.numerics.affine import choose_qparams as choose_qparams
    from qlearn.numerics.affine import dequantize as dequantize
    from qlearn.numerics.affine import fake_quantize as fake_quantize
    from qlearn.numerics.affine import quantize as quantize
    from qlearn.numerics.affine import sqnr as sqnr
    from qlearn.numerics.codebook import quantize_blockwise as quantize_blockwise
    from qlearn.numerics.scheme import QuantScheme as QuantScheme
    from qlearn.teach.explorer.explorer import Explorer as Explorer

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "numerics.scheme": ["QuantScheme"],
        "numerics.affine": [
            "QuantizedTensor",
            "quantize",
            "dequantize",
            "fake_quantize",
            "choose_qparams",
            "sqnr",
        ],
        "models.load": ["load_model", "load_tokenizer"],
        "models.text": ["load_tokens", "load_reviews"],
        "numerics.codebook": ["quantize_blockwise"],
        "convert.model": ["quantize_model", "copy_for_quantization", "QuantizationReport"],
        "models.layers.affine": ["QuantizedLinear"],
        "models.layers.codebook": ["CodebookLinear"],
        "checkpoints.save": ["save_quantized"],
        "checkpoints.load": ["load_quantized"],
        "measure.evaluate": ["perplexity", "kl_divergence", "top1_agreement", "compare"],
        "measure.memory.inference": ["estimate_memory"],
        "teach.explorer.explorer": ["Explorer"],
        "exercises": ["check"],
    },
)


class _ShortName(ModuleType):
    """A public module under a name of its own, for `from qlearn.gptq import gptq_quantize`."""

    def __init__(self, name: str, homes: Mapping[str, Sequence[str]]) -> None:
        super().__init__(f"{__name__}.{name}", f"Public names of `{', '.join(homes)}`.")
        home_of = {each: home for home, names in homes.items() for each in names}
        vars(self).update(__all__=sorted(home_of), _home_of=home_of)

    def __getattr__(self, name: str) -> Any:
        # Nothing else is looked up: whoever walks through all modules must not load torch.
        if name not in vars(self)["_home_of"]:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{vars(self)['_home_of'][name]}"), name)


# What notebooks and scripts of readers import by these names, wherever its room is.
for _name, _homes in {
    "awq": {"methods.awq": ["AwqResult", "awq_search"]},
    "codebook": {
        "numerics.codebook": [
            *("FP4", "NF4", "BlockwiseTensor", "CodebookScheme", "quantize_blockwise")
        ],
    },
    "formats": {
        "numerics.formats": [
            *("BF16", "FP4_E2M1", "FP8_E4M3", "FP8_E5M2", "FP16", "FP32", "INT4", "INT8"),
            *("decode", "encode", "fields", "neighbours"),
        ],
    },
    "gptq": {"methods.gptq": ["gptq_quantize"]},
    "packing": {"numerics.packing": ["pack", "unpack"]},
}.items():
    sys.modules[f"{__name__}.{_name}"] = _ShortName(_name, _homes)

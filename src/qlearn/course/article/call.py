"""The article's call on a folder of our own, the exceptions it meets today, and what works.

The article (Hakia, "Quantization: Running AI Models on Consumer Hardware") loads a GPTQ checkpoint,
``microsoft/DialoGPT-medium-GPTQ``, with ``load_in_4bit=True``. Here a pocket model takes its place,
so that nothing is fetched: as GPTQ codes, and in floats.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qlearn import needs
from qlearn.checkpoints.save import save_quantized
from qlearn.convert.model import quantize_model
from qlearn.models.layers.copies import copy_for_quantization
from qlearn.models.load import load_model, quiet
from qlearn.numerics.scheme import QuantScheme

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = "pocket-100k"
SCHEME = QuantScheme(bits=4, symmetric=True, group_size=32)


@dataclass(frozen=True)
class Call:
    """One way to load a folder, and what came of it.

    Attributes:
        form: ``"keyword"``, ``"config"`` or ``"today"``.
        code: the call in a line.
        loads: whether a model came back.
        raises: the exception's name, or ``None``.
        message: its first line, or the bytes that the model holds.
    """

    form: str
    code: str
    loads: bool
    raises: str | None
    message: str


@contextmanager
def article_folders() -> Iterator[tuple[Path, Path]]:
    """Folders of the same small model: ``(gptq, float)``; gone at the end."""
    with tempfile.TemporaryDirectory() as home:
        model = load_model(MODEL)
        full, codes = Path(home, "float"), Path(home, "gptq")
        with quiet():
            model.save_pretrained(full)
        rounded = copy_for_quantization(model)
        quantize_model(rounded, "rtn", SCHEME, progress=False)
        save_quantized(rounded, codes, format="gptq")
        yield codes, full


def article_calls(codes: str | os.PathLike[str], full: str | os.PathLike[str]) -> list[Call]:
    """Load as the article says, and as it is done today.

    Three calls: the keyword on a float folder; bitsandbytes' configuration, which has taken the
    keyword's place, on the GPTQ folder; and that configuration on the float folder. The keyword on
    a GPTQ folder ends in the same TypeError where GPTQModel is installed; without it transformers
    asks for that first.

    Args:
        codes: a folder in the GPTQ format.
        full: a folder of the same model in floats.
    """
    with needs("course"):
        from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    def load(folder: str | os.PathLike[str], **arguments: Any) -> Any:
        with quiet():
            return AutoModelForCausalLM.from_pretrained(folder, **arguments)

    def config() -> BitsAndBytesConfig:
        return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")

    return [
        attempt(
            "keyword",
            "from_pretrained(folder, load_in_4bit=True)",
            lambda: load(full, load_in_4bit=True),
        ),
        attempt(
            "config",
            "from_pretrained(gptq_folder, quantization_config=BitsAndBytesConfig(...))",
            lambda: load(codes, quantization_config=config()),
        ),
        attempt(
            "today",
            "from_pretrained(folder, quantization_config=BitsAndBytesConfig(...))",
            lambda: load(full, quantization_config=config()),
        ),
    ]


def attempt(form: str, code: str, call: Callable[[], Any]) -> Call:
    """Make one call; its exception is an outcome, not a failure."""
    try:
        model = call()
    except (TypeError, ValueError, ImportError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else ""
        return Call(form, code, False, type(error).__name__, first)
    return Call(form, code, True, None, f"{model.get_memory_footprint()} bytes")

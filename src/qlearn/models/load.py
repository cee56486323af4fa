"""Models and tokenizers: the packaged one, any on the hub, any local folder or GGUF file."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from qlearn import needs
from qlearn.models.fetch import check_disk
from qlearn.models.fetch_errors import hub_failure
from qlearn.models.local_files import (
    check_config,
    check_memory,
    first_line,
    gguf_parameters,
    stored_parameters,
)
from qlearn.models.packaged import (
    DEFAULT,
    PACKAGED,
    POCKET,
    POCKET_FOLDER,
    converted_folder,
    forget_gguf,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
MODEL_FILES = ["*.json", "*.safetensors"]
TOKENIZER_FILES = ["*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken"]


@dataclass(frozen=True)
class Source:
    """Where a model lies: a folder, and the GGUF file in it where there are no safetensors."""

    folder: Path
    gguf: str | None = None

    def arguments(self) -> dict[str, Any]:
        """Give what transformers' `from_pretrained` needs beside the folder."""
        common = {"local_files_only": True, "trust_remote_code": False}
        return {**common, "gguf_file": self.gguf} if self.gguf else common


def load_model(
    name: str | os.PathLike[str] = DEFAULT, dtype: torch.dtype = torch.float32
) -> "PreTrainedModel":
    """Load a causal language model in evaluation mode, on the CPU.

    Args:
        name: "smollm2-135m", which is packaged, as is the pocket family ("pocket-100k", ...); a
            hub id such as "HuggingFaceTB/SmolLM2-135M"; a folder with config.json and
            safetensors; or a GGUF file.
        dtype: of the parameters: float32, bfloat16, float16 or float64.

    Raises:
        ValueError: an unknown name or dtype, a model that needs its own code, too little memory.
        OSError: nothing there, a damaged file, pickles instead of safetensors, no network.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is not a float type of torch; choose one of {DTYPES}")
    source = locate(name, MODEL_FILES, dtype.itemsize)
    if source.gguf:
        # Transformers holds the dequantized float32 weights and the model at once.
        check_memory(name, 8 * gguf_parameters(source.folder / source.gguf))
    else:
        check_config(source.folder)
        check_memory(name, dtype.itemsize * stored_parameters(source.folder))
    with needs("course"):
        from transformers import AutoModelForCausalLM

    try:
        with quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                source.folder,
                dtype=dtype,
                use_safetensors=True,
                output_loading_info=True,
                **source.arguments(),
            )
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        raise OSError(
            f"name={str(name)!r} can't be loaded as a causal language model: "
            f"{first_line(error)}; fetch its files again, or choose another model"
        ) from error
    model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        # transformers would go on with random numbers in their place.
        raise OSError(
            f"{source.folder} lacks {len(missing)} of the model's weights ({missing[0]}, ...); "
            "its safetensors are incomplete or of another model: fetch them again"
        )
    if source.gguf:
        forget_gguf(model)
    return model.eval()


def load_tokenizer(name: str | os.PathLike[str] = DEFAULT) -> "PreTrainedTokenizerBase":
    """Load the tokenizer of a model; `name` and the errors are those of `load_model`."""
    source = locate(name, TOKENIZER_FILES)
    names = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
    if not source.gguf and not any((source.folder / file).is_file() for file in names):
        raise OSError(
            f"{source.folder} holds no tokenizer (none of {', '.join(names)}); "
            "save one with tokenizer.save_pretrained(folder)"
        )
    with needs("course"):
        from transformers import AutoTokenizer

    try:
        with quiet():
            return AutoTokenizer.from_pretrained(source.folder, **source.arguments())
    except Exception as error:
        raise OSError(
            f"the tokenizer of name={str(name)!r} can't be read: {first_line(error)}; "
            "fetch its files again"
        ) from error


def locate(name: str | os.PathLike[str], files: list[str], itemsize: int = 0) -> Source:
    """Turn a name into a folder on this machine, fetching what is not there.

    Args:
        name: as `load_model` takes it.
        files: patterns of the files to fetch, where it comes from the hub.
        itemsize: bytes a parameter will take; 0 where no parameters are loaded.
    """
    if not isinstance(name, str | os.PathLike) or not str(name):
        raise ValueError(f"name={name!r} is not a model's name; {_choices()}")
    text = str(name)
    if text in PACKAGED:
        return Source(converted_folder(text))
    if text in POCKET:
        return Source(POCKET_FOLDER / text)
    path = Path(text).expanduser()
    if path.is_dir():
        return _in_folder(path)
    if path.is_file():
        if path.suffix != ".gguf":
            raise OSError(f"name={text!r} is a file that is not read here; {_choices()}")
        return Source(path.parent, path.name)
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", text) and path.suffix != ".gguf":
        return Source(from_hub(text, files, itemsize))
    if re.search(r"[/\\]|^[.~]|\.gguf$", text):
        raise FileNotFoundError(f"name={text!r}: there is no such folder or file; {_choices()}")
    raise ValueError(f"name={text!r} is not a packaged model; {_choices()}")


def _choices() -> str:
    known = ", ".join(repr(name) for name in (*PACKAGED, *POCKET))
    return (
        f"choose {known}, a hub id such as 'HuggingFaceTB/SmolLM2-135M', a folder with "
        "config.json and safetensors, or a .gguf file"
    )


def _in_folder(folder: Path) -> Source:
    """Find the model that a folder holds: its configuration, or its only GGUF file."""
    if (folder / "config.json").is_file():
        return Source(folder)
    ggufs = sorted(path.name for path in folder.glob("*.gguf"))
    if len(ggufs) == 1:
        return Source(folder, ggufs[0])
    if ggufs:
        raise ValueError(f"{folder} holds {len(ggufs)} GGUF files; name one: {folder / ggufs[0]}")
    raise OSError(
        f"{folder} holds no model (config.json is missing); "
        "name a folder written by model.save_pretrained(folder), or a .gguf file"
    )


def from_hub(name: str, files: list[str], itemsize: int = 0, kind: str = "model") -> Path:
    """Download a hub repository's files, or find them in the hub's own cache.

    Args:
        name: "owner/name".
        files: patterns of the files wanted.
        itemsize: bytes a parameter will take, to refuse a model too large for the memory before
            it is downloaded.
        kind: "model" or "dataset".
    """
    with needs("course"):
        import huggingface_hub
        from huggingface_hub.constants import HF_HUB_CACHE

    wanted: dict[str, Any] = {
        "allow_patterns": files,
        "ignore_patterns": ["*/*"],
        "repo_type": kind,
    }
    download = huggingface_hub.snapshot_download
    try:
        plan: Any = download(name, dry_run=True, **wanted)
    except Exception as error:
        try:
            return Path(download(name, local_files_only=True, **wanted))
        except Exception:
            raise hub_failure(name, error) from error
    # Stored in four bytes a parameter at most, so this is the least that they can take.
    stored = sum(file.file_size or 0 for file in plan if file.filename.endswith(".safetensors"))
    check_memory(name, stored * itemsize // 4)
    needed = sum(file.file_size or 0 for file in plan if file.will_download)
    check_disk(Path(HF_HUB_CACHE), needed, f"fetching {name}", "HF_HOME")
    try:
        return Path(download(name, **wanted))
    except Exception as error:
        raise hub_failure(name, error) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' progress bars and advice while it loads.

    Where torchao is installed, transformers imports it on the way, and it complains of kernels for
    GPUs that are not there.
    """
    with needs("course"):
        from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    others = [getLogger(name) for name in ("torchao", "torch.utils._pytree")]
    levels = [other.level for other in others]
    for other in others:
        other.setLevel("ERROR")
    try:
        yield
    finally:
        for other, before in zip(others, levels, strict=True):
            other.setLevel(before)
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()

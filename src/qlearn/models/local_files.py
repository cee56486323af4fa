"""Looks at a model's files before they are loaded: format, wholeness, and the memory they need."""

import json
import math
import re
from pathlib import Path

from qlearn import needs

PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.h5")


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
    with needs("course"):
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
    with needs("course"):
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
        with needs("course"):
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


def first_line(error: Exception) -> str:
    """Give an error's kind and its message's first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__

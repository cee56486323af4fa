"""llama.cpp through llama-cpp-python, on GGUF files that qlearn wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ENVIRONMENT = "llamacpp"
# llama.cpp's AMX kernels end in a segmentation fault on this model's batches, on CPUs that have AMX
# (ggml-org/llama.cpp#20824). Without the compiler's macro they are left out; on others it is unset
# anyway. A wheel from pip's cache would be one that was built without this.
WITHOUT_AMX = "-U__AMX_INT8__"
REQUIREMENTS = (
    "--no-cache-dir",
    f"-Ccmake.define.CMAKE_C_FLAGS={WITHOUT_AMX}",
    f"-Ccmake.define.CMAKE_CXX_FLAGS={WITHOUT_AMX}",
    *("llama-cpp-python==0.3.36", "transformers==5.23.0", "safetensors==0.8.0"),
    *("gguf==0.19.0", "numpy==2.2.6"),
)
BITS = {"llamacpp-q8_0": (8, True), "llamacpp-q4_0": (4, True), "llamacpp-q4_1": (4, False)}
NOTES = (
    "Compiled from source without AMX, whose kernels end in a segmentation fault here "
    "(ggml-org/llama.cpp#20824); embedding and tied head stay in FP32, as qlearn's exporter writes "
    "them; inputs are rounded to 8 bits in blocks of 32; the cache holds FP16."
)
ROWS: dict[str, dict[str, Any]] = {
    row: {
        "title": f"llama.cpp, GGUF {row.split('-')[1].upper()}",
        "install": f'pip install llama-cpp-python -C cmake.args="-DCMAKE_C_FLAGS={WITHOUT_AMX};'
        f'-DCMAKE_CXX_FLAGS={WITHOUT_AMX}"',
        "needs": "any CPU (x86, Arm) and a C++ compiler; builds for CUDA, Metal, Vulkan, ROCm",
        "packages": ("llama-cpp-python", "gguf"),
        "bits": bits,
        "group": 32,
        "notes": NOTES,
    }
    for row, (bits, _) in BITS.items()
}


def make(row: str, model: Path, calibration: Any, folder: Path) -> None:
    """Round to the nearest in blocks of 32, and write one file."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from qlearn import QuantScheme

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(model)
    bits, symmetric = BITS[row]
    # lines of llamacpp-q8_0 llamacpp-q4_0 llamacpp-q4_1
    from qlearn import quantize_model, save_quantized

    quantize_model(loaded, "rtn", QuantScheme(bits, symmetric, 32))
    save_quantized(loaded, folder, "gguf", tokenizer, overwrite=True)
    # end


def load(row: str, folder: Path, model: Path) -> Any:
    """The file, in llama.cpp."""
    from _toolbox_llamacpp import CONTEXT, LlamaCppModel
    from _toolbox_worker import THREADS

    file = str(folder / "model.gguf")
    # lines of llamacpp-q8_0 llamacpp-q4_0 llamacpp-q4_1
    from llama_cpp import Llama

    llm = Llama(file, n_ctx=CONTEXT, n_threads=THREADS, n_threads_batch=THREADS)
    # end
    return LlamaCppModel(llm)

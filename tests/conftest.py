"""What several tests share: the packaged model, its tokenizer, and a tiny model of random weights.

No test may lean on the hub, so it is switched off before anything imports it.
"""

import importlib
import os
import tempfile
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
# torch.compile keeps its kernels, and does not tell those of one instruction set from another's: an
# AVX2 kernel that runs as AVX-512 writes beyond its buffers.
if "ATEN_CPU_CAPABILITY" in os.environ:
    own = f"torchinductor-{os.environ['ATEN_CPU_CAPABILITY']}"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir(), own)))


@pytest.fixture(scope="session")
def smollm():
    """The packaged model in float32. Shared: a test that changes weights works on a copy."""
    from qlearn.models.load import load_model

    return load_model("smollm2-135m")


@pytest.fixture(scope="session")
def tokenizer():
    """The packaged model's tokenizer."""
    from qlearn.models.load import load_tokenizer

    return load_tokenizer("smollm2-135m")


@pytest.fixture(scope="session")
def whole_split(smollm, tokenizer):
    """The evaluation split, integers ``[20, 512]``, and what the packaged model says to it."""
    from qlearn.measure.evaluate import remember
    from qlearn.models.text import load_tokens

    tokens = load_tokens(tokenizer, split="evaluation", sequences=20)
    return tokens, remember(smollm, tokens)


@pytest.fixture
def tiny_llama():
    """A Llama of seeded random weights, made anew for each test, which may change it."""
    from tiny_models import llama

    return llama(max_position_embeddings=512, tie_word_embeddings=True)


@pytest.fixture
def one_thread():
    """One thread for a test: sums in one order, so that a run repeats exactly."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def bench(monkeypatch):
    """`bench(name)` imports a script of `tests/benchmarks`."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "benchmarks"))
    return importlib.import_module

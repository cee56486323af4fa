"""The packages that load what the course saves; not part of a reader's environment."""

import importlib.util
import os

import pytest

# All formats that are not named here: the two of GPTQModel.
PACKAGES = {"compressed-tensors": ["compressed_tensors"], "torchao": ["torchao"]}
GPTQMODEL = ["gptqmodel", "optimum"]


def require(format):
    """Skip by name where the format's loader is missing; fail where all were to be there."""
    for package in PACKAGES.get(format, GPTQMODEL):
        if importlib.util.find_spec(package) is None:
            words = f"{package} is missing: `make loaders` makes an environment that has it"
            if os.environ.get("QLEARN_LOADERS") == "required":
                pytest.fail(words)
            pytest.skip(words)

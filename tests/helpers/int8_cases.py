"""Inputs and marks that the tests of INT8 share."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
each_threshold = pytest.mark.parametrize("threshold", [0.0, 2.5, 6.0])


@contextmanager
def silent_library() -> Iterator[None]:
    """Without bitsandbytes' advice on casts."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def inputs(rows: int = 9, width: int = 37, seed: int = 0, loud: int = 3) -> torch.Tensor:
    """Floats with a loud column, a lone outlier and a row of zeros."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=generator)
    x[:, loud] *= 15
    x[-1, -1] = -40.0
    x[rows // 2] = 0
    return x

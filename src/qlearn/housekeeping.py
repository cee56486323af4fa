"""Giving memory back: a chapter keeps within what a free Binder has."""

from __future__ import annotations

import ctypes
import gc
import sys


def free_memory() -> None:
    """Collect garbage and hand the allocator's free pages back to the system.

    On Linux with glibc, freed tensors otherwise stay in the process's resident memory. Elsewhere
    this only collects garbage.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)

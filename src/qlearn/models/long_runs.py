"""Giving memory back: a chapter keeps within what a free Binder has."""

from __future__ import annotations

import ctypes
import gc
import sys

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of glibc's mallopt
_LARGE = 1 << 20  # bytes: a tensor of this size is given back as soon as it is freed


def free_memory() -> None:
    """Collect garbage and hand the allocator's free pages back to the system.

    On Linux with glibc, freed tensors otherwise stay in the process's resident memory, and the
    more so the more of them there were: it learns to keep them. From the first call on, large ones
    are given back at once. Elsewhere this only collects garbage.
    """
    gc.collect()
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):
            library.mallopt(_MMAP_THRESHOLD, _LARGE)
            library.malloc_trim(0)

"""What a long run wants: a bar, its memory given back, and files that are whole or not there."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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


def progress_bar(total: int, title: str, unit: str, shown: bool) -> AbstractContextManager[Any]:
    """Make a bar to enter with `with`; `update()` counts a step.

    Args:
        total: steps of the whole run.
        title: stands before the bar.
        unit: what one step is, such as `"layer"`.
        shown: False makes a bar that draws nothing.
    """
    try:
        from tqdm.auto import tqdm
    except ModuleNotFoundError:  # the core does without it
        return nullcontext(SimpleNamespace(update=lambda: None))
    bar: AbstractContextManager[Any] = tqdm(total=total, desc=title, unit=unit, disable=not shown)
    return bar


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file whole or not at all: what the block writes takes its place at the end.

    Args:
        path: the file; its folder is there.

    Yields:
        A path beside it to write to. Where the block raises, the old file stays as it was.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with whole_file(Path(folder) / "a.txt") as new:
    ...         _ = new.write_text("all of it")
    ...     [(file.name, file.read_text()) for file in Path(folder).iterdir()]
    [('a.txt', 'all of it')]
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

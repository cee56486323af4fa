"""The bar of a long run: tqdm's where it is installed, and none otherwise."""

from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any


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

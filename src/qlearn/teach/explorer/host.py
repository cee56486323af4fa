"""Where an explorer is shown: with widgets in a kernel, as a page of its own, or in words."""

import importlib.util
import os
import sys
from typing import Any

VARIABLE = "QLEARN_EXPLORER"


def host() -> str:
    """Return "live" (a kernel with widgets), "page" (a kernel without) or "none" (no kernel).

    `QLEARN_EXPLORER=static` asks for the page.

    Raises:
        ValueError: the variable has a value other than `static` and `live`.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", "live", "static"):
        raise ValueError(f"{VARIABLE}={wanted!r} is not known; use 'static' or 'live', or unset it")
    if wanted == "static":
        return "page"
    if not in_kernel():
        return "none"
    if not has_widgets() or (in_colab() and not enable_colab_widgets()):
        return "page"
    return "live"


def in_kernel() -> bool:
    """Whether a Jupyter kernel runs this code."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def in_colab() -> bool:
    """Whether the kernel is Google Colab's."""
    return "google.colab" in sys.modules


def has_widgets() -> bool:
    """Whether sliders (ipywidgets) and plotly's FigureWidget (anywidget) are both there."""
    return all(importlib.util.find_spec(name) for name in ("ipywidgets", "anywidget"))


def enable_colab_widgets() -> bool:
    """Ask Colab for its custom widget manager, which plotly's FigureWidget needs."""
    try:
        from google.colab import output

        output.enable_custom_widget_manager()
    except (ImportError, AttributeError):
        return False
    return True

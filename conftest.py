"""The plugins of this suite; they lie in `tests/`, and serve `src/` and `notebooks/` too."""

import gc
import sys

import pytest
from hypothesis import settings

settings.load_profile("ci")  # hypothesis's own: no deadlines, and the same examples everywhere
pytest_plugins = ["plugin_chapters", "plugin_groups", "plugin_progress"]


def pytest_collection_finish():
    """Keep what was collected out of later garbage collections.

    `quantize_model` collects to give memory back, and would look through all of pytest's own
    objects each time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def usual_printing():
    """Print tensors as torch does by default: the cells of a notebook that ran here may not."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_printoptions(profile="default")

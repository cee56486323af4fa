"""The plugins of this suite; they lie in `tests/`, and serve `src/` and `notebooks/` too."""

import gc

pytest_plugins = ["plugin_chapters", "plugin_groups", "plugin_progress"]


def pytest_collection_finish():
    """Keep what was collected out of later garbage collections.

    `quantize_model` collects to give memory back, and looking through all of pytest's own objects
    would take a second each time.
    """
    gc.collect()
    gc.freeze()

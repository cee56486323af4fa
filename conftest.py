"""The plugins of this suite; they lie in `tests/`, and serve `src/` and `notebooks/` too."""

pytest_plugins = ["plugin_chapters", "plugin_groups", "plugin_progress"]

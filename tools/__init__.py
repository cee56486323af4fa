"""The commands of a clone, `python -m qlearn TASK`: its set-up, its site, its tests."""

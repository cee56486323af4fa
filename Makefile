# Thin calls of `python3 -m qlearn`, which does its own set-up; see `python3 -m qlearn --help`.
PYTHON ?= python3

TASKS = setup fetch book test check lint loaders lab notebooks new bench bench-tools grade-demo capstone-board
.PHONY: help $(TASKS)
help:
	@$(PYTHON) -m qlearn --help
$(TASKS):
	@$(PYTHON) -m qlearn $@ $(ARGS)

# Thin calls of `python3 -m qlearn`, which does its own set-up; see `python3 -m qlearn --help`.
PYTHON ?= python3

.PHONY: setup book test lab notebooks bench bench-tools grade-demo
setup book test lab notebooks bench bench-tools grade-demo:
	@$(PYTHON) -m qlearn $@ $(ARGS)

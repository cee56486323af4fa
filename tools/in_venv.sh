#!/bin/sh
# Run a program of .venv, wherever it lies: on Windows too, where git brings `sh`.
PATH="$PWD/.venv/bin:$PWD/.venv/Scripts:$PATH" exec "$@"

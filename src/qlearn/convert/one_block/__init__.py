"""The calibrated methods, each for one transformer block."""

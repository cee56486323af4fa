"""Students' code runs isolated, and only answers calls."""

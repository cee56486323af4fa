"""Alert rules for Prometheus, written and tried out."""

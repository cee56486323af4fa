"""What students hand in: collected, stripped, rebuilt."""

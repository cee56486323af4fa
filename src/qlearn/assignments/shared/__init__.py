"""What the questions of several assignments use."""

"""Scores, feedback and the class's dashboard."""

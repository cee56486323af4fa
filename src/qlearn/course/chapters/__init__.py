"""One module a chapter: its figures, tables and explorers."""

"""Grading a class: students' code runs isolated and only answers calls; scores are made outside.

``python -m qlearn.classroom --help`` lists the commands. The modules, from the inside out:
`wire` (values as bytes), `worker` (runs a notebook's cells inside), `sandbox` and `filtered` (what
the inside sees), `process` and `remote` (its calls from outside), `grade` (a notebook's scores).
"""

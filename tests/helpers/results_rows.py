"""Rows of results files: found, and compared with rows measured again."""

import math

from qlearn.measure import results


def recorded(name, **wanted):
    """The one row of a results file in which these entries stand."""
    rows = results.load(name)["rows"]
    (row,) = [row for row in rows if wanted.items() <= row.items()]
    return row


def agrees(again, row, tolerance):
    """Whether two rows are the same but for what another CPU rounds otherwise."""
    assert again.keys() == row.keys()
    return [
        name
        for name, value in row.items()
        if not (
            math.isclose(again[name], value, rel_tol=tolerance, abs_tol=tolerance)
            if isinstance(value, float)
            else again[name] == value
        )
    ]

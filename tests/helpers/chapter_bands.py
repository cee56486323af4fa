"""How far an explorer that is computed again may be from the committed one, and why.

The usual band is for sums that another processor adds up in another order. Wider ones stand here
by name, each with its reason; what the figure is to show is asserted in the chapter itself.
"""

import math

USUAL = 1e-3
MEASURED = math.inf  # numbers are compared with nothing: the shape and the words are

# The title of an explorer: its band, and why.
BANDS = {
    "Throughput under load": (MEASURED, "tokens a second of this machine"),
    "Three faults and a healthy model": (
        MEASURED,
        (
            "the healthy model is in bfloat16, and how far its products are from float32's is each "
            "processor's own; the chapter asserts that it stays below the threshold and the faults "
            "do not"
        ),
    ),
    "A model learns to live with 2 bits": (
        MEASURED,
        (
            "a training run: a last bit decides a code of 2 bits, and each step begins where the "
            "last one ended; the chapter asserts how far the loss falls"
        ),
    ),
}


def band(title):
    """The band of an explorer."""
    return BANDS.get(title, (USUAL, ""))[0]

"""The explorer's grid of chapter 4, precision x group size: ``results/rtn_grid.json``.

As ``rtn_quality.py``, but over the chapter's 4 fixed rows of 512 tokens, so that 24 grids take
minutes, not half an hour.

    python tests/benchmarks/rtn_grid.py
"""

from __future__ import annotations

import torch
from rtn_quality import measure

from qlearn import QuantScheme, load_model, load_tokenizer, load_tokens
from qlearn.evaluate import remember
from qlearn.results import save

ROWS = 4
BITS = (2, 3, 4, 5, 6, 8)
GROUPS = (None, 192, 64, 32)
COMMAND = "python tests/benchmarks/rtn_grid.py"


def main() -> None:
    torch.set_num_threads(2)
    model, tokenizer = load_model("smollm2-135m"), load_tokenizer("smollm2-135m")
    tokens = load_tokens(tokenizer, corpus="editorials", split="evaluation", sequences=ROWS)
    reference = remember(model, tokens)
    rows = []
    for scheme in (None, *(QuantScheme(bits, False, group) for group in GROUPS for bits in BITS)):
        rows.append(measure(model, reference, tokens, scheme))
        print(rows[-1], flush=True)
    save(
        "rtn_grid", rows, command=COMMAND, corpus="editorials", split="evaluation", rows_of_512=ROWS
    )


if __name__ == "__main__":
    main()

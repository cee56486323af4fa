"""Write the rows of a real layer that the landing page draws.

Run `python tests/benchmarks/landing_tile.py` in the repository.

Sixteen whole rows around the largest weight of one layer of smollm2-135m, in float16 (48 kB), with
their origin in the file's metadata.
"""

import json
import sys

import torch
from _results import origin
from safetensors.torch import save_file

from qlearn import load_model
from qlearn.course.chapters.ch03.granularity import LANDING_TILE, tile_of_largest
from qlearn.measure.results import FOLDER

MODEL, LAYER, ROWS = "smollm2-135m", "model.layers.10.mlp.down_proj", 16


def rows_of(weight: torch.Tensor) -> tuple[int, torch.Tensor]:
    """The first row, and ``ROWS`` whole rows around the largest weight, in float16."""
    first, _ = tile_of_largest(weight, rows=ROWS)
    return first, weight[first : first + ROWS].half().contiguous()


def main() -> None:
    """Cut the rows, write them to a temporary name, and rename it."""
    first, rows = rows_of(load_model(MODEL).get_submodule(LAYER).weight.detach())
    source = {
        "model": MODEL,
        "layer": LAYER,
        "first_row": str(first),
        "command": "python tests/benchmarks/landing_tile.py",
        "measured": json.dumps(origin()),
    }
    target = FOLDER / "weights" / LANDING_TILE
    fresh = target.with_suffix(".new")
    save_file({"weight": rows}, fresh, metadata=source)
    fresh.replace(target)
    sys.stdout.write(f"{target.name}: {list(rows.shape)}, {target.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()

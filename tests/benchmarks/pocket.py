"""What the pocket models know: accuracy on 1,000 held-out questions of each task.

Writes ``results/pocket.json``. About a minute of one core.

    python tests/benchmarks/pocket.py
"""

from __future__ import annotations

from typing import Any

import torch
from _results import save

from qlearn import load_model
from qlearn.models.packaged import POCKET, POCKET_FOLDER
from qlearn.models.pocket.questions import accuracy_by_task
from qlearn.models.pocket.tasks import TASKS
from qlearn.models.pocket.train import BATCH, RECIPES

COMMAND = "python tests/benchmarks/pocket.py"
QUESTIONS = 1000


def measure(name: str, tasks: tuple[str, ...] = tuple(TASKS)) -> list[dict[str, Any]]:
    """A row for each task of one model."""
    scores = accuracy_by_task(load_model(name), tasks, QUESTIONS)
    return [
        {
            "model": name,
            "task": task,
            "questions": score.questions,
            "accuracy": round(score.accuracy, 4),
            "nll": round(score.nll, 5),
        }
        for task, score in scores.items()
    ]


def describe(name: str) -> dict[str, Any]:
    """Size and training of one model."""
    recipe = RECIPES[name]
    return {
        "parameters": sum(p.numel() for p in load_model(name).parameters()),
        "bytes": (POCKET_FOLDER / name / "model.safetensors").stat().st_size,
        "steps": recipe.steps,
        "rows_a_step": BATCH,
    }


def main() -> None:
    """Measure every model."""
    torch.set_num_threads(1)
    rows = []
    for name in POCKET:
        rows += measure(name)
        print(name, {row["task"]: row["accuracy"] for row in rows[-len(TASKS) :]}, flush=True)
    models = {name: describe(name) for name in POCKET}
    save("pocket", rows, command=COMMAND, models=models)


if __name__ == "__main__":
    main()

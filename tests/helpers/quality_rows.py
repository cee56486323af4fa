"""Made-up levels for the tests of tables and plots."""

from qlearn.measure.choose.quality import Quality
from qlearn.models.pocket.tasks import TASKS


def level(model="pocket-100k", method="rtn", bits=4, size=100, **more):
    """A level of a made-up size; ``right`` is every task's accuracy, or some tasks' own."""
    group = more.pop("group_size", None)
    right = more.pop("right", 1.0)
    tasks = right if isinstance(right, dict) else {}
    usual = 1.0 if tasks else right
    accuracy = None if right is None else {task: tasks.get(task, usual) for task in TASKS}
    fields = {
        "symmetric": None if method in ("float32", "bfloat16", "nf4") else False,
        "bits_per_weight": float(bits),
        "linear_bytes": size,
        "bytes": size,
        "shipped_bytes": size,
        "perplexity": 10.0,
        "kl_divergence": 0.1,
        "top1_agreement": 0.9,
        "accuracy": accuracy,
        "nll": None if accuracy is None else {task: 1 - accuracy[task] for task in TASKS},
        "source": "made up",
    }
    return Quality(model, method, bits, group, **{**fields, **more})

"""QLoRA beside LoRA on one small task, three seeds each: ``results/qlora.json``.

Both train the same adapters of peft's on the same orders in the same batches; the base is NF4 with
double quantization (bitsandbytes) or float32. Each run has a process of its own, so that its peak
memory is its own. Each takes one thread: steps of so few tokens gain little from a second, and lose
much where other programs run. About 8 minutes.

    python tests/benchmarks/qlora.py
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from typing import Any

import torch
from _results import save

from qlearn import load_model, load_tokenizer
from qlearn.course.chapters.ch09.orders import draw_new_words, draw_orders, encode, exact_match
from qlearn.course.chapters.ch09.training import load_nf4, train

COMMAND = "python tests/benchmarks/qlora.py"
SEEDS = (0, 1, 2)
METHODS = ("LoRA", "QLoRA")
RECIPE: dict[str, Any] = {
    "train_orders": 512,
    "test_orders": 64,
    "rank": 8,
    "alpha": 16,
    "targets": "all-linear",
    "steps": 32,
    "batch_size": 4,
    "learning_rate": 3e-3,
}
EXAMPLES = 4  # in the prompt of the base model, as a comparison


def adapters(model: Any, seed: int) -> Any:
    """The model with fresh adapters; the same for both methods."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(
        r=RECIPE["rank"],
        lora_alpha=RECIPE["alpha"],
        target_modules=RECIPE["targets"],
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def measure(method: str, seed: int) -> dict[str, Any]:
    """One run: before, training, after."""
    tokenizer = load_tokenizer("smollm2-135m")
    orders, held_out = draw_orders(RECIPE["train_orders"], RECIPE["test_orders"], seed)
    data, test = encode(tokenizer, orders), encode(tokenizer, held_out)
    new_words = encode(tokenizer, draw_new_words(RECIPE["test_orders"], seed))
    model = load_nf4("smollm2-135m") if method == "QLoRA" else load_model("smollm2-135m")
    base_mb = model.get_memory_footprint() / 1e6
    before = exact_match(model, test)
    model = adapters(model, seed)
    losses, seconds = [], []
    start = time.perf_counter()
    for loss in train(
        model,
        data,
        RECIPE["steps"],
        lr=RECIPE["learning_rate"],
        batch_size=RECIPE["batch_size"],
        seed=seed,
    ):
        losses.append(loss)
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
    return {
        "method": method,
        "seed": seed,
        "exact_before": before,
        "exact_after": exact_match(model, test),
        "exact_new_words": exact_match(model, new_words),
        "loss_first": round(losses[0], 4),
        "loss_last_four": round(statistics.mean(losses[-4:]), 4),
        "adapter_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "base_mb": round(base_mb, 1),
        "seconds_a_step": round(statistics.median(seconds), 2),
    }


def examples_in_the_prompt(seed: int) -> dict[str, Any]:
    """The base model in float32 with worked examples in its prompt, and no training."""
    tokenizer = load_tokenizer("smollm2-135m")
    orders, held_out = draw_orders(RECIPE["train_orders"], RECIPE["test_orders"], seed)
    before = "".join(f"{one.prompt}{one.record}\n\n" for one in orders[:EXAMPLES])
    # The record ends with its line here, not with the end of the text.
    test = encode(tokenizer, held_out, before)
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
    test.targets[test.targets == tokenizer.eos_token_id] = newline[0]
    score = exact_match(load_model("smollm2-135m"), test)
    return {"method": f"{EXAMPLES} examples in the prompt", "seed": seed, "exact_after": score}


def peak_mb() -> float | None:
    """Largest resident memory of this process so far."""
    if sys.platform != "linux":
        return None
    import resource

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 0)


def in_own_process(*arguments: str) -> dict[str, Any]:
    """Run this script for one row and read it."""
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def main() -> None:
    """All runs, the short-cut without training last."""
    rows: list[dict[str, Any]] = []
    runs = [(method, seed) for seed in SEEDS for method in METHODS]
    for kind, seed in [*runs, ("examples", SEEDS[0])]:
        rows.append(in_own_process(kind, str(seed)))
        print(rows[-1], flush=True)
        save("qlora", rows, COMMAND, model="smollm2-135m", recipe=RECIPE, threads=1)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        # peft imports GPTQModel where it is installed; a chapter's kernel does not have it.
        sys.modules["gptqmodel"] = None  # type: ignore[assignment]
        torch.set_num_threads(1)
        kind, number = sys.argv[1], int(sys.argv[2])
        found = measure(kind, number) if kind in METHODS else examples_in_the_prompt(number)
        if kind in METHODS:
            found["peak_mb"] = peak_mb()
        print(json.dumps(found))
    else:
        main()

"""llm-compressor on one run of ``libraries.py``, in an environment of its own.

Its AWQ copies cached activations to pinned memory, which torch has only beside an accelerator: that
one step is left out here, and nothing else is changed.
"""

from _child import Run, measured
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from llmcompressor.modifiers.transform.awq import AWQModifier
from llmcompressor.pipelines.cache import IntermediatesCache
from transformers import AutoModelForCausalLM

IntermediatesCache.pin_memory = lambda *_: None

run = Run.given()
weights = {
    "num_bits": run.bits,
    "type": "int",
    "symmetric": run.symmetric,
    "strategy": "group",
    "group_size": 64,
}
how = {
    "ignore": ["lm_head"],
    "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
}
if run.method == "gptq":
    recipe = [GPTQModifier(**how)]
else:
    recipe = [AWQModifier(), QuantizationModifier(**how)]
model = AutoModelForCausalLM.from_pretrained(run.model, dtype="float32")
rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in run.tokens.tolist()]
measured(
    run,
    "llmcompressor",
    lambda: oneshot(
        model=model,
        dataset=Dataset.from_list(rows),
        recipe=recipe,
        max_seq_length=run.tokens.shape[1],
        num_calibration_samples=len(rows),
        shuffle_calibration_samples=False,
        pipeline="sequential",
    ),
)
model.save_pretrained(run.folder / "model", save_compressed=True)

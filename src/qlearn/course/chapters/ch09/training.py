"""Fine-tuning on a CPU: a base in NF4 through bitsandbytes, and a training loop of a few lines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from qlearn import needs
from qlearn.course.chapters.ch09.orders import IGNORED, Encoded, answer_logits
from qlearn.models.load import MODEL_FILES, locate, quiet
from qlearn.models.packaged import DEFAULT

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_nf4(name: str | os.PathLike[str] = DEFAULT) -> PreTrainedModel:
    """Load a model as QLoRA's base: NF4 with double quantization, computing in float32.

    Args:
        name: as :func:`qlearn.models.load.load_model` takes it, but a GGUF file.

    Raises:
        ValueError, OSError: as :func:`qlearn.models.load.load_model`.
    """
    with needs("course"):
        from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    source = locate(name, MODEL_FILES)
    if source.gguf:
        raise ValueError(
            f"name={str(name)!r} is a GGUF file, which bitsandbytes does not round while it loads; "
            "save it with load_model(name).save_pretrained(folder) and name that folder"
        )
    with quiet():
        model: Any = AutoModelForCausalLM.from_pretrained(
            source.folder, quantization_config=config, dtype=torch.float32, use_safetensors=True
        )
    return keep_trainable(let_go_of_file(model))


def let_go_of_file(model: Any) -> Any:
    """Copy what stayed in floats out of the file that it was loaded from; returns ``model``.

    Weights are read through a memory map, and one tensor that still lies in it keeps the whole
    file in memory, the float weights that were rounded included.
    """
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.clone()
    return model


def keep_trainable(model: Any) -> Any:
    """Keep bitsandbytes from repacking 4-bit weights on the CPU; returns ``model``.

    Where the processor has AVX-512 for bfloat16, its layers repack their weights for inference at
    the first forward pass in evaluation mode. Through the repacked weights no gradient flows; all
    that is heard of it is a warning of PyTorch's about an autograd kernel. The switch for that is
    on each layer.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def train(
    model: nn.Module,
    data: Encoded,
    steps: int,
    *,
    lr: float,
    batch_size: int = 8,
    seed: int = 0,
    at_once: int | None = None,
) -> Iterator[float]:
    """AdamW on all parameters that want a gradient; gives each step's loss as the step is done.

    The model is put into training mode. The rate rises for a tenth of the steps and then falls to
    zero along a cosine. Batches are drawn with ``seed``.

    Args:
        model: with adapters, or all of it to be trained.
        data: encoded records.
        steps: of the optimizer.
        lr: the highest rate.
        batch_size: rows that a step learns from.
        seed: of the batches.
        at_once: rows whose activations are in memory together; the batch's gradient is added up
            from parts of so many rows (gradient accumulation). All of the batch by default.

    Raises:
        ValueError: for no steps, an empty batch, a rate that is not positive, or nothing to train.
    """
    at_once = batch_size if at_once is None else at_once
    for name, value in (
        *(("steps", steps), ("batch_size", batch_size)),
        *(("lr", lr), ("at_once", at_once)),
    ):
        if not value > 0:
            raise ValueError(f"{name}={value} must be positive")
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(
            f"model={type(model).__name__} has no parameter that wants a gradient; "
            "give it adapters first"
        )
    return _steps(model, parameters, data, steps, lr, batch_size, seed, at_once)


def _steps(
    model: nn.Module,
    parameters: list[nn.Parameter],
    data: Encoded,
    steps: int,
    lr: float,
    batch_size: int,
    seed: int,
    at_once: int,
) -> Iterator[float]:
    model.train()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, steps + 1, pct_start=0.1)
    for _ in range(steps):
        rows = torch.randint(len(data), (batch_size,), generator=generator)
        counted = int((data[rows].targets != IGNORED).sum())
        loss = 0.0
        for part in rows.split(at_once):
            # The batch's mean is the sum over all parts divided by what the whole batch counts.
            share = F.cross_entropy(*answer_logits(model, data[part]), reduction="sum") / counted
            share.backward()
            loss += share.item()
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
        yield loss

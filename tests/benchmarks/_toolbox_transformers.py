"""A model of transformers as the tools table measures it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _toolbox_worker import THREADS
from transformers import DynamicCache


class TransformersModel:
    """Logits and greedy decoding of a causal language model, on two threads."""

    def __init__(self, model: Any) -> None:
        torch.set_num_threads(THREADS)
        self.model = model.eval()

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        """int64 ``[length]`` to float32 ``[length, vocabulary]``."""
        with torch.inference_mode():
            logits: torch.Tensor = self.model(torch.from_numpy(tokens)[None]).logits[0]
        return logits.float().numpy()

    def decoder(self, prompt: np.ndarray) -> Callable[[], np.ndarray]:
        """A function that writes a token for each sequence of ``prompt`` ``[batch, length]``."""
        tokens = torch.from_numpy(prompt)
        cache = DynamicCache(config=self.model.config)
        with torch.inference_mode():
            self.model(tokens[:, :-1], past_key_values=cache, use_cache=True, logits_to_keep=1)
        newest = tokens[:, -1:]

        def step() -> np.ndarray:
            nonlocal newest
            with torch.inference_mode():
                logits = self.model(newest, past_key_values=cache, use_cache=True).logits
                newest = logits[:, -1].argmax(-1, keepdim=True)
            return newest[:, 0].numpy()

        return step

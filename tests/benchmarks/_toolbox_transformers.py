"""A model of transformers as the tools table measures it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from _toolbox_worker import THREADS
from numpy.typing import NDArray
from transformers import DynamicCache


class TransformersModel:
    """Logits and greedy decoding of a causal language model, on two threads."""

    def __init__(self, model: Any) -> None:
        torch.set_num_threads(THREADS)
        self.model = model.eval()

    def logits(self, tokens: NDArray[Any]) -> NDArray[Any]:
        """int64 ``[length]`` to float32 ``[length, vocabulary]``."""
        with torch.no_grad():
            logits: torch.Tensor = self.model(torch.from_numpy(tokens)[None]).logits[0]
        return logits.float().numpy()

    def decoder(self, prompt: NDArray[Any]) -> Callable[[], NDArray[Any]]:
        """A function that writes a token for each sequence of ``prompt`` ``[batch, length]``."""
        tokens = torch.from_numpy(prompt)
        cache = DynamicCache(config=self.model.config)
        with torch.no_grad():
            self.model(tokens[:, :-1], past_key_values=cache, use_cache=True, logits_to_keep=1)
        newest = tokens[:, -1:]

        def step() -> NDArray[Any]:
            nonlocal newest
            with torch.no_grad():
                logits = self.model(newest, past_key_values=cache, use_cache=True).logits
                newest = logits[:, -1].argmax(-1, keepdim=True)
            return newest[:, 0].numpy()

        return step

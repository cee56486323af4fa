"""A GGUF file in llama.cpp as the tools table measures it: logits, and sequences at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llama_cpp
import numpy as np

CONTEXT, SEQUENCES = 512, 8  # tokens of a sequence: a row of the text fits


class LlamaCppModel:
    """Logits and greedy decoding through llama.cpp's own functions.

    Args:
        llm: a ``llama_cpp.Llama``. Its own context holds one sequence, so that another is made.

    Raises:
        RuntimeError: where llama.cpp refuses.
    """

    def __init__(self, llm: Any) -> None:
        self.llm = llm
        settings = llm.context_params
        settings.n_ctx, settings.n_seq_max = CONTEXT * SEQUENCES, SEQUENCES
        settings.kv_unified = False  # each sequence looks at its own part of the cache
        self.context = llama_cpp.llama_init_from_model(llm.model, settings)
        if not self.context:
            raise RuntimeError(f"llama.cpp made no context for {SEQUENCES} sequences")
        self.vocabulary = llm.n_vocab()
        self.batch = llama_cpp.llama_batch_init(llm.n_batch, 0, 1)

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        """int64 ``[length]`` to float32 ``[length, vocabulary]``."""
        self._forget()
        return self._run(tokens[None], 0, all_logits=True)

    def decoder(self, prompt: np.ndarray) -> Callable[[], np.ndarray]:
        """A function that writes a token for each sequence of ``prompt`` ``[batch, length]``."""
        self._forget()
        place = prompt.shape[1] - 1
        self._run(prompt[:, :-1], 0)
        newest = prompt[:, -1]

        def step() -> np.ndarray:
            nonlocal newest, place
            newest = self._run(newest[:, None], place).argmax(-1)
            place += 1
            return newest

        return step

    def _forget(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def _run(self, tokens: np.ndarray, past: int, all_logits: bool = False) -> np.ndarray:
        """Logits of the last token of each sequence, or of all tokens, ``[n, vocabulary]``.

        Args:
            tokens: ``[sequences, length]``.
            past: how many tokens each sequence has behind it.
            all_logits: of every token.

        Raises:
            RuntimeError: where llama.cpp refuses.
        """
        length = tokens.shape[1]
        self.batch.n_tokens = tokens.size
        for i, token in enumerate(tokens.flat):
            sequence, position = divmod(i, length)
            self.batch.token[i] = int(token)
            self.batch.pos[i] = past + position
            self.batch.n_seq_id[i], self.batch.seq_id[i][0] = 1, sequence
            self.batch.logits[i] = all_logits or position == length - 1
        status = llama_cpp.llama_decode(self.context, self.batch)
        if status:
            raise RuntimeError(f"llama_decode returned {status} for tokens {tokens.shape}")
        wanted = [i for i in range(tokens.size) if self.batch.logits[i]]
        found = np.empty((len(wanted), self.vocabulary), np.float32)
        for row, i in enumerate(wanted):
            pointer = llama_cpp.llama_get_logits_ith(self.context, i)
            found[row] = np.ctypeslib.as_array(pointer, (self.vocabulary,))
        return found

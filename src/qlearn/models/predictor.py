"""The next-token logits of a causal language model, a few positions at a time.

A model with 49,152 classes gives 100 MB of logits for a row of 512 tokens, and comparing two models
holds several such tensors. Here the body of the model runs a few rows at a time and keeps hidden
states, 85 times smaller; the output head is applied to some positions only, when they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from qlearn.models.blocks import device_of, input_vocabulary, longest_row

_TOKENS_AT_ONCE = (
    1024  # through the body of the model: quantized layers unpack once for all of them
)
_PROBE = 8  # tokens on which body and head are compared with the whole model
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8)

Part = Callable[[Tensor], Tensor]


class Predictor:
    """A model cut in two: ``features`` runs the body, ``logits`` applies the output head.

    Args:
        model: a causal language model of transformers, or any module from tokens to logits.
        tokens: integers ``[rows, length]`` that it will be asked about.

    Attributes:
        vocab_size: how many classes it predicts.

    Raises:
        ValueError: for tokens that this model can't read, see :func:`check_tokens`.
    """

    def __init__(self, model: nn.Module, tokens: Tensor) -> None:
        if not isinstance(model, nn.Module):
            raise ValueError(
                f"model={type(model).__name__} is not a model; pass one such as load_model returns"
            )
        check_tokens(tokens, input_vocabulary(model), longest_row(model))
        self._model = model
        self._tokens = tokens
        self._device = device_of(model)
        probe = tokens[:1, :_PROBE].to(self._device)
        with evaluating(model), torch.inference_mode():
            expected = _whole(model, probe)
            parts = _cut(model)
            if parts is not None and not _agree(parts, probe, expected):
                parts = None
        self.vocab_size = expected.shape[-1]
        # Without a body and a head that agree with the model, the logits themselves are features.
        self._body: Part = parts[0] if parts else lambda ids: _whole(model, ids)
        self._head: Part | None = parts[1] if parts else None

    def features(self, rows: slice) -> Tensor:
        """Hidden states ``[rows, length - 1, width]`` at the positions that predict a token."""
        return self.hidden(self._tokens[rows])[:, :-1]

    def hidden(self, tokens: Tensor) -> Tensor:
        """Hidden states ``[rows, length, width]`` of any tokens."""
        return self._body(tokens.to(self._device).long())

    def logits(self, features: Tensor) -> Tensor:
        """Float32 logits ``[..., vocab_size]`` of some features.

        Raises:
            ValueError: for logits that are NaN or infinite.
        """
        return _logits(self._head, features, type(self._model).__name__)

    def evaluating(self) -> Any:
        """A context in which the model is in evaluation mode."""
        return evaluating(self._model)


class Remembered:
    """What a model says about some tokens, kept as its final hidden states and its output head.

    It stands in for the model wherever a ``reference`` is asked for, at the cost of
    ``width * 4`` bytes a token, and stays true when the model is quantized afterwards: the head is
    not quantized. Valid for exactly the tokens it was made from. Where a model's head can't be told
    from its body, whole logits are kept.
    """

    def __init__(self, model: nn.Module, tokens: Tensor) -> None:
        predictor = Predictor(model, tokens)
        with predictor.evaluating(), torch.inference_mode():
            kept = [predictor.features(rows) for rows in row_slices(tokens)]
            self._features = torch.cat(kept)
        self._tokens = tokens.clone()
        self._name = type(model).__name__
        self._head = predictor._head
        self.vocab_size = predictor.vocab_size

    def with_features(self, features: Tensor) -> Remembered:
        """The same head and tokens under other hidden states ``[rows, length - 1, width]``.

        For trials that replay only the end of a model, and so have hidden states but no model.

        Raises:
            ValueError: for hidden states of another shape.
        """
        if features.shape != self._features.shape:
            raise ValueError(
                f"features has shape {tuple(features.shape)}; pass the hidden states of all but "
                f"the last position, {tuple(self._features.shape)}"
            )
        other = copy(self)
        other._features = features
        return other

    def features(self, rows: slice) -> Tensor:
        """As :meth:`Predictor.features`."""
        return self._features[rows]

    def logits(self, features: Tensor) -> Tensor:
        """As :meth:`Predictor.logits`."""
        return _logits(self._head, features, self._name)

    def evaluating(self) -> Any:
        """A context that changes nothing: there is no model to switch."""
        return evaluating(nn.Module())

    def check(self, tokens: Tensor) -> None:
        """Raise a ``ValueError`` unless ``tokens`` are those that were remembered."""
        check_tokens(tokens, None, None)
        if tokens.shape != self._tokens.shape or not torch.equal(
            tokens.long().cpu(), self._tokens.long().cpu()
        ):
            raise ValueError(
                f"tokens of shape {tuple(tokens.shape)} are not the ones that were remembered "
                f"(shape {tuple(self._tokens.shape)}); call remember(reference, tokens) with these"
            )

    @property
    def nbytes(self) -> int:
        """Bytes of the hidden states."""
        return self._features.numel() * self._features.element_size()

    def __repr__(self) -> str:
        rows, length = self._tokens.shape
        return (
            f"Remembered({self._name}, {rows} rows of {length} tokens, {self.nbytes / 1e6:.1f} MB)"
        )


def remember(reference: nn.Module, tokens: Tensor) -> Remembered:
    """Run ``reference`` once over ``tokens`` and keep what it says: a cheap stand-in for it.

    Args:
        reference: a causal language model.
        tokens: integers ``[rows, length]``.

    Raises:
        ValueError: for tokens that the model can't read.
    """
    return Remembered(reference, tokens)


def predictor_of(model: nn.Module | Remembered, tokens: Tensor) -> Predictor | Remembered:
    """A source of logits for ``tokens``, from a model or from what was remembered of one."""
    if isinstance(model, Remembered):
        model.check(tokens)
        return model
    return Predictor(model, tokens)


def row_slices(tokens: Tensor) -> Iterator[slice]:
    """All rows of ``tokens``, about 1,024 tokens at a time."""
    step = max(1, _TOKENS_AT_ONCE // tokens.shape[1])
    for start in range(0, tokens.shape[0], step):
        yield slice(start, min(start + step, tokens.shape[0]))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; each module's own training flag comes back afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def check_tokens(
    tokens: Tensor, vocab_size: int | None = None, longest: int | None = None, least: int = 2
) -> None:
    """Raise a ``ValueError`` unless ``tokens`` are integers ``[rows, length]`` a model can read."""
    remedy = "pass integers [rows, length], as load_tokens returns"
    if not isinstance(tokens, Tensor):
        raise ValueError(f"tokens={type(tokens).__name__} is not a tensor; {remedy}")
    if tokens.dtype not in _INTEGERS:
        raise ValueError(f"tokens has dtype {tokens.dtype}; {remedy}")
    if tokens.dim() != 2:
        hint = "pass tokens[None] for one row" if tokens.dim() == 1 else remedy
        raise ValueError(f"tokens has shape {tuple(tokens.shape)}; {hint}")
    if tokens.numel() == 0:
        raise ValueError(f"tokens of shape {tuple(tokens.shape)} is empty; {remedy}")
    if tokens.shape[1] < least:
        raise ValueError(
            f"tokens has rows of {tokens.shape[1]} tokens; a prediction needs {least} at the least"
        )
    if longest is not None and tokens.shape[1] > longest:
        raise ValueError(
            f"tokens has rows of {tokens.shape[1]} tokens, the model reads {longest}; "
            "cut them into shorter rows"
        )
    low, high = (int(end) for end in torch.aminmax(tokens))
    if low < 0 or (vocab_size is not None and high >= vocab_size):
        bound = vocab_size if vocab_size is not None else "its vocabulary"
        raise ValueError(
            f"tokens holds ids {low} to {high}, the model knows 0 to {bound} (exclusive); "
            "tokenize with this model's own tokenizer"
        )


def body_of(model: nn.Module) -> nn.Module:
    """The part of a transformers model that ends in hidden states; other modules as they are."""
    body = getattr(model, "base_model", model)
    return body if isinstance(body, nn.Module) else model


def run_body(body: nn.Module, ids: Tensor) -> Any:
    """Call a model without its cache of keys and values, where it has one."""
    return body(ids, use_cache=False) if hasattr(body, "config") else body(ids)


def _logits(head: Part | None, features: Tensor, name: str) -> Tensor:
    logits = (features if head is None else head(features)).float()
    # One NaN or infinity among them shows in the sum, without another tensor of their size.
    if not bool(torch.isfinite(logits.sum())):
        raise ValueError(
            f"model={name} gives NaN or infinite logits; look for NaN weights, or load it in "
            "dtype=torch.float32 if float16 overflows"
        )
    return logits


def _whole(model: nn.Module, ids: Tensor) -> Tensor:
    output = run_body(model, ids)
    logits = getattr(output, "logits", output)
    if not isinstance(logits, Tensor) or logits.dim() != 3:
        raise ValueError(
            f"model={type(model).__name__} returns no logits [rows, length, classes]; "
            "pass a causal language model such as load_model returns"
        )
    return logits


def _cut(model: nn.Module) -> tuple[Part, Part] | None:
    """Body and head of a transformers model, or ``None`` where it names no head."""
    body = body_of(model)
    get_head = getattr(model, "get_output_embeddings", None)
    head = get_head() if callable(get_head) else None
    if body is model or not isinstance(head, nn.Module):
        return None
    config: Any = getattr(model, "config", None)
    softcap = getattr(config, "final_logit_softcapping", None)  # Gemma 2
    factor = getattr(config, "logit_scale", None) or 1.0  # Cohere
    factor /= getattr(config, "logits_scaling", None) or 1.0  # Granite

    def run(ids: Tensor) -> Tensor:
        hidden: Tensor = run_body(body, ids).last_hidden_state
        return hidden

    def logits(hidden: Tensor) -> Tensor:
        values: Tensor = head(hidden)
        values = values if factor == 1.0 else values * factor
        return torch.tanh(values / softcap) * softcap if softcap else values

    return run, logits


def _agree(parts: tuple[Part, Part], probe: Tensor, expected: Tensor) -> bool:
    """Whether head(body) is the model. Models may treat their logits in ways not known here."""
    body, head = parts
    try:
        found = head(body(probe))
    except (TypeError, AttributeError, RuntimeError):
        return False
    if found.shape != expected.shape:
        return False
    tolerance = 2e-2 if expected.dtype in (torch.float16, torch.bfloat16) else 1e-4
    found, expected = found.float(), expected.float()
    size = expected.abs().amax().nan_to_num(0.0)
    return torch.allclose(found, expected, rtol=0, atol=float(size) * tolerance, equal_nan=True)

"""Which layers hurt: each of the 210 alone at 3 bits, groups of 64: ``results/layer_scan.json``.

KL divergence and perplexity over four fixed rows of the evaluation split. The inputs of every block
are remembered from one pass of the original, so each trial replays only the blocks from its own on.

    python tests/benchmarks/layer_scan.py
"""

from __future__ import annotations

from typing import Any

import torch
from _results import save
from torch import Tensor, nn

from qlearn import QuantScheme, fake_quantize, load_model, load_tokenizer, load_tokens
from qlearn.measure.evaluate import compare, remember
from qlearn.models.blocks import find_blocks, linear_layers

SCHEME = QuantScheme(3, False, 64)
ROWS = 4
COMMAND = "python tests/benchmarks/layer_scan.py"


def block_inputs(model: Any, tokens: Tensor) -> tuple[list[Tensor], list[dict[str, Any]]]:
    """What each block is called with in one pass over ``tokens``."""
    hidden: list[Tensor] = []
    keywords: list[dict[str, Any]] = []

    def note(_: nn.Module, arguments: tuple[Tensor, ...], named: dict[str, Any]) -> None:
        hidden.append(arguments[0])
        keywords.append(named)

    _, blocks = find_blocks(model)
    hooks = [block.register_forward_pre_hook(note, with_kwargs=True) for block in blocks]
    model.base_model(tokens, use_cache=False)
    for hook in hooks:
        hook.remove()
    return hidden, keywords


def replay(model: Any, start: int, hidden: Tensor, keywords: list[dict[str, Any]]) -> Tensor:
    """Final hidden states, from the input of block ``start`` on."""
    _, blocks = find_blocks(model)
    for block, named in zip(list(blocks)[start:], keywords[start:], strict=True):
        output = block(hidden, **named)
        hidden = output[0] if isinstance(output, tuple) else output
    final: Tensor = model.base_model.norm(hidden)
    return final


@torch.inference_mode()
def scan(model: Any, tokens: Tensor, only: tuple[int, str] | None = None) -> list[dict[str, Any]]:
    """One row a layer; ``only=(block, layer)`` computes that one alone."""
    reference = remember(model, tokens)
    hidden, keywords = block_inputs(model, tokens)
    rows = []
    for number, block in enumerate(find_blocks(model)[1]):
        for name, layer in linear_layers(block).items():
            if only not in (None, (number, name)):
                continue
            original = layer.weight.data
            layer.weight.data = fake_quantize(original, SCHEME)
            final = replay(model, number, hidden[number], keywords)
            layer.weight.data = original
            trial = reference.with_features(final[:, :-1])
            result = compare(trial, reference, tokens)
            row = {
                "block": number,
                "layer": name,
                "kl_divergence": round(result.kl_divergence, 6),
                "perplexity": round(result.perplexity, 4),
                "top1_agreement": round(result.top1_agreement, 5),
            }
            rows.append(row)
            print(row, flush=True)
    return rows


def main() -> None:
    torch.set_num_threads(2)
    model, tokenizer = load_model("smollm2-135m"), load_tokenizer("smollm2-135m")
    tokens = load_tokens(tokenizer, corpus="editorials", split="evaluation", sequences=ROWS)
    save("layer_scan", scan(model, tokens), command=COMMAND, scheme=str(SCHEME), rows_of_512=ROWS)


if __name__ == "__main__":
    main()

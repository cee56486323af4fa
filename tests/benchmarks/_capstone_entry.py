"""Our capstone entry: GPTQ on grids of equal harm, and codes stored by their entropy.

A quantizer of few levels wastes bits twice: a level's share of the codes is far from equal, and all
weights get as many bits though some matter a thousand times more. Here each weight has an endless
grid of its own step, and what its code costs is its surprise, by Huffman's codes. Then the best
steps are those that make each weight's rounding do the same harm. Harm is second order: the
gradient at a layer's output says what an error there costs (Fisher's information), the Hessian of
its inputs what an error of a weight does to that output after later columns have made it good
(GPTQ). So the step of weight ``(o, i)`` is ``c U_ii / g_o``; one number ``c`` sets the file's size.

Sources: GPTQ, arXiv 2210.17323; entropy-coded scalar quantization: Gish and Pierce 1968.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from _capstone_decode import COARSE, FINE, places, table
from torch import Tensor, nn
from torch.nn import functional as F

from qlearn.convert.statistics import Hessian
from qlearn.methods.gptq import inverse_factor, revive_dead
from qlearn.models.blocks import linear_layers, replace_weight, weight_of
from qlearn.models.walk import Walk, sharing_layers

HEAD = "model.embed_tokens.weight"
BATCH = 96  # columns updated at once
FLOOR = 0.1  # of a layer's root mean square, the least gradient of a row
HEAD_FLOOR = 0.3
DAMPING = 0.01


@dataclass(frozen=True)
class Harm:
    """What errors cost.

    Attributes:
        outputs: root mean square gradient of a token's loss at each output of each linear layer.
        logits: the same at the logits, ``[vocabulary]``.
        embedding: mean square gradient at an embedding's numbers.
    """

    outputs: dict[str, Tensor]
    logits: Tensor
    embedding: float


@dataclass(frozen=True)
class Matrix:
    """One matrix, rounded: codes, and the exponents of its rows' and columns' steps."""

    codes: Tensor
    rows: Tensor
    columns: Tensor

    def floats(self) -> Tensor:
        """The weights as the decoder gives them."""
        grid = torch.exp2((self.rows[:, None] + self.columns) / FINE)
        return (self.codes * grid).bfloat16().float()


def measure_harm(model: Any, tokens: Tensor) -> Harm:
    """Fisher's information of all outputs, with next tokens drawn from the model itself."""
    generator = torch.Generator().manual_seed(0)
    squares: dict[str, Tensor] = {}
    hooks = []
    for name, layer in linear_layers(model.model.layers).items():

        def note(_: nn.Module, __: Any, gradient: Any, name: str = name) -> None:
            squares[name] = squares.get(name, 0) + gradient[0].square().sum((0, 1))

        hooks.append(layer.register_full_backward_hook(note))
    model.requires_grad_(False)
    logits_sum: Any = 0
    embedding = 0.0
    for row in tokens.split(1):
        inputs = model.model.embed_tokens(row).requires_grad_(True)
        logits = model(inputs_embeds=inputs).logits[0]
        with torch.no_grad():
            chances = logits.softmax(-1)
            drawn = torch.multinomial(chances, 1, generator=generator)[:, 0]
            logits_sum = logits_sum + (chances * (1 - chances)).sum(0)
        F.cross_entropy(logits, drawn, reduction="sum").backward()
        embedding += float(inputs.grad.square().mean())
    for hook in hooks:
        hook.remove()
    count = tokens.numel()
    outputs = {name: (total / count).sqrt() for name, total in squares.items()}
    return Harm(outputs, (logits_sum / count).sqrt(), embedding / len(tokens))


def compress(model: Any, tokens: Tensor, harm: Harm, c: float) -> bytes:
    """The entry's file for steps ``c U_ii / g_o``; the model's weights become the rounded ones."""
    with torch.no_grad():
        found = dict(_blocks(model, tokens, harm, c))
        found[HEAD] = _head(model, tokens, harm, c)
        norms = {n: p.half() for n, p in model.named_parameters() if p.dim() == 1}
    return _file(found, norms)


def _blocks(model: Any, tokens: Tensor, harm: Harm, c: float) -> Iterator[tuple[str, Matrix]]:
    """Each linear layer's matrix, calibrated on what the rounded layers before it give."""
    walk = Walk(model, tokens)
    for index, block in enumerate(walk.blocks):
        layers = linear_layers(block)
        for group in sharing_layers(walk, index):
            factor = inverse_factor(
                revive_dead(_hessian(walk, index, layers[group[0]]))[0], DAMPING
            )
            for name in group:
                gradient = _floored(harm.outputs[f"{index}.{name}"], FLOOR)
                matrix = _round(weight_of(layers[name]), factor, c / gradient)
                replace_weight(layers[name], matrix.floats())
                yield f"model.layers.{index}.{name}.weight", matrix
        walk.hidden = walk.run(index, walk.hidden)


def _hessian(walk: Walk, index: int, layer: nn.Module) -> Tensor:
    """Mean ``x x^T`` of a layer's inputs."""
    statistic = Hessian(weight_of(layer).shape[1])

    def note(_: nn.Module, args: Any) -> None:
        statistic.add(args[0].flatten(0, -2))

    with layer.register_forward_pre_hook(note):
        walk.run(index, walk.hidden)
    return statistic.value / 2


def _head(model: Any, tokens: Tensor, harm: Harm, c: float) -> Matrix:
    """The tied matrix: an output head for the hidden states, and an embedding.

    How often a token is read is about how often it is likely, so the embedding's harm goes to the
    Hessian's diagonal as a multiple of the head's.
    """
    statistic = Hessian(model.config.hidden_size)
    for row in tokens.split(1):
        statistic.add(model.model(row).last_hidden_state[0])
    hessian = statistic.value / 2
    hessian.diagonal().add_(harm.embedding / float(harm.logits.square().sum()))
    gradient = _floored(harm.logits.sqrt(), HEAD_FLOOR)
    gradient = gradient * (harm.logits.square().sum() / gradient.square().sum()).sqrt()
    matrix = _round(model.lm_head.weight, inverse_factor(hessian, 0.001), c / gradient)
    weight = nn.Parameter(matrix.floats(), requires_grad=False)
    model.lm_head.weight = model.model.embed_tokens.weight = weight
    return matrix


def _floored(gradient: Tensor, share: float) -> Tensor:
    return gradient.clamp(min=share * float(gradient.square().mean().sqrt()))


def _exponents(steps: Tensor) -> Tensor:
    return (FINE * torch.log2(steps)).round().clamp(-128, 127)


def _round(weight: Tensor, factor: Tensor, steps: Tensor) -> Matrix:
    """GPTQ with an endless grid for each weight: its row's step times its column's pivot."""
    rows, columns = _exponents(steps), _exponents(factor.diagonal())
    by_row, by_column = torch.exp2(rows / FINE), torch.exp2(columns / FINE)
    left = weight.T.clone().contiguous()
    codes = torch.empty(left.shape, dtype=torch.int16)
    for start in range(0, len(left), BATCH):
        stop = min(start + BATCH, len(left))
        errors = left.new_empty(stop - start, left.shape[1])
        for i in range(start, stop):
            done = i - start
            column = left[i].addmv_(errors[:done].T, factor[start:i, i], alpha=-1)
            step = by_row * by_column[i]
            code = (column / step).round_().clamp_(-32_000, 32_000)
            codes[i] = code.to(torch.int16)
            errors[done] = (column - code * step) / factor[i, i]
        left[stop:].addmm_(factor[start:stop, stop:].T, errors, alpha=-1)
    return Matrix(codes.T.contiguous(), rows, columns)


def _file(matrices: dict[str, Matrix], norms: dict[str, Tensor]) -> bytes:
    side, body = [], []
    for name in table():
        if name in norms:
            body.append(norms[name].numpy().tobytes())
            continue
        matrix = matrices[name]
        spread = _spread(matrix.codes.float())
        side += [matrix.rows, matrix.columns, spread]
        order = places(spread.to(torch.int8), len(matrix.codes))
        stream = matrix.codes.flatten()[order]
        near = stream.clamp(-128, 127).to(torch.int8).numpy().tobytes()
        coder = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
        body.append(_part(coder.compress(near) + coder.flush()))
        flat = matrix.codes.flatten()
        far = (flat != flat.clamp(-128, 127)).nonzero()[:, 0]
        pairs = torch.stack((far, flat[far].long()), 1).to(torch.int32)
        body.append(_part(pairs.numpy().tobytes()))
    exponents = torch.cat(side).to(torch.int8).numpy().tobytes()
    return b"".join([_part(lzma.compress(exponents, preset=9)), *body])


def _spread(codes: Tensor) -> Tensor:
    """Root mean squares of the codes of each row, then of each column beside the whole's."""
    rows = codes.square().mean(1).sqrt().clamp(min=1e-4)
    columns = codes.square().mean(0).sqrt().clamp(min=1e-4)
    columns = columns / codes.square().mean().sqrt()
    return (COARSE * torch.log2(torch.cat((rows, columns)))).round().clamp(-128, 127)


def _part(content: bytes) -> bytes:
    return len(content).to_bytes(4, "little") + content

"""Assignment 4, folding: scales go into a norm, or into the layer before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from qlearn.assignments.a4.parts import channel_scales
from qlearn.assignments.shared.pocket_layer import SHARED, layer_case, pocket
from qlearn.teach.checks.checker import Exercise

Weights = dict[str, Tensor]


def fold(norm: Tensor, weights: Mapping[str, Tensor], scales: Tensor) -> tuple[Tensor, Weights]:
    """The norm's weight divided, the columns of every layer that it feeds multiplied."""
    return norm / scales, {name: weight * scales for name, weight in weights.items()}


def chain(
    before: Tensor, bias: Tensor | None, after: Tensor, scales: Tensor
) -> tuple[Tensor, Tensor | None, Tensor]:
    """The rows of the layer before divided, its bias too; the columns of the one after grow."""
    return before / scales[:, None], None if bias is None else bias / scales, after * scales


def make_fold(seed: int) -> Exercise:
    """A norm and all the layers that it feeds."""
    cases = []
    for block, (source, layers) in (
        (0, SHARED[0]),
        (1, SHARED[2]),
        (1, SHARED[0]),
    ):
        module = pocket().model.layers[block]
        norm = module.get_submodule(source).weight.detach().clone()
        weights = {
            name.rpartition(".")[2]: module.get_submodule(name).weight.detach()[:12].clone()
            for name in layers
        }
        inputs = layer_case(f"{block}.{layers[0]}", 4, 64, seed)[1]
        cases.append((norm, weights, channel_scales(inputs, 0.3 + 0.2 * block)))

    def first_alone(norm: Tensor, weights: Weights, scales: Tensor) -> Any:
        names = list(weights)
        return norm / scales, {n: w * scales if n == names[0] else w for n, w in weights.items()}

    def each(change: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Any]:
        return lambda norm, weights, scales: {n: change(w, scales) for n, w in weights.items()}

    columns = each(lambda w, s: w * s)
    return Exercise(
        id="a4.fold",
        task="Write `fold(norm, weights, scales)`: a norm's weight [in] and the layers that it "
        "feeds, a dict name -> [out, in], after `scales` [in] were folded in: columns multiplied, "
        "outputs as before. Return (norm, dict).",
        expected=fold,
        cases=cases,
        mistakes={
            "The wrong way round: the columns of the layers are multiplied, the norm is divided.": (
                lambda n, w, s: (n * s, each(lambda w, s: w / s)(n, w, s))
            ),
            "Only one of the layers is rescaled. The norm feeds all of them.": first_alone,
            "The norm is as it was, so the outputs have changed.": (
                lambda n, w, s: (n, columns(n, w, s))
            ),
            "The layers are as they were, so the outputs have changed.": (
                lambda n, w, s: (n / s, dict(w))
            ),
            "Both are multiplied: the outputs grow by the square of the scales.": (
                lambda n, w, s: (n * s, columns(n, w, s))
            ),
            "Both are divided.": lambda n, w, s: (n / s, each(lambda w, s: w / s)(n, w, s)),
            "The norm is divided once for each layer; all layers share one division.": (
                lambda n, w, s: (n / s ** len(w), columns(n, w, s))
            ),
            "You multiply by the square root of the scales on one side: both sides take the "
            "scales whole.": lambda n, w, s: (n / s, each(lambda w, s: w * s.sqrt())(n, w, s)),
            "The scales were normalised once more. Fold in what is given.": (
                lambda n, w, s: (n / (s / s.mean()), each(lambda w, s: w * s / s.mean())(n, w, s))
            ),
        },
        rtol=1e-4,
        hint="What the columns are multiplied by, their input must be divided by.",
    )


def make_chain(seed: int) -> Exercise:
    """Two linear layers in a row, with a bias and without."""
    cases = []
    for block, bias in ((0, False), (1, True)):
        after, inputs = layer_case(f"{block}.mlp.down_proj", 12, 64, seed)
        before = layer_case(f"{block}.mlp.up_proj", after.shape[1], 4, seed)[0]
        generator = torch.Generator().manual_seed(seed)
        extra = torch.randn(len(before), generator=generator) if bias else None
        cases.append((before, extra, after, channel_scales(inputs, 0.5)))
    square = layer_case("1.self_attn.v_proj", 64, 4, seed)[0]
    inputs = layer_case("1.self_attn.o_proj", 4, 64, seed)[1]
    out = layer_case("1.self_attn.o_proj", 64, 4, seed)[0]
    cases.append((square, inputs[0].clone(), out, channel_scales(inputs, 0.5)))

    def over(bias: Tensor | None, scales: Tensor) -> Tensor | None:
        return None if bias is None else bias / scales

    def columns_before(b: Tensor, bias: Tensor | None, a: Tensor, s: Tensor) -> Any:
        if b.shape[1] != len(s):
            raise RuntimeError("scales are of another size than the columns")
        return b / s, over(bias, s), a * s

    return Exercise(
        id="a4.chain",
        task="Write `chain(before, bias, after, scales)`: two linear layers in a row, [mid, in] "
        "with `bias` [mid] (or None), then [out, mid], after `scales` [mid] were folded in: the "
        "columns of `after` multiplied, its outputs as before. Return (before, bias, after).",
        expected=chain,
        cases=cases,
        mistakes={
            "The bias is an output too: divide it as well.": (
                lambda b, bias, a, s: (b / s[:, None], bias, a * s)
            ),
            "The wrong way round: the columns of `after` are multiplied, what feeds them is "
            "divided.": lambda b, bias, a, s: (
                b * s[:, None],
                None if bias is None else bias * s,
                a / s,
            ),
            "You divide the columns of `before`, its inputs. Its outputs are its rows.": (
                columns_before
            ),
            "You multiply the rows of `after`, its outputs. Its inputs are its columns.": (
                lambda b, bias, a, s: (b / s[:, None], over(bias, s), a * s[: len(a), None])
            ),
            "`before` is as it was, so the outputs have changed.": (
                lambda b, bias, a, s: (b, over(bias, s), a * s)
            ),
            "`after` is as it was, so the outputs have changed.": (
                lambda b, bias, a, s: (b / s[:, None], over(bias, s), a)
            ),
            "The bias is left out of the result: return it divided, None only where it was None.": (
                lambda b, bias, a, s: (b / s[:, None], None, a * s)
            ),
            "The bias is multiplied; it reaches the columns as the rows' outputs do: divide it.": (
                lambda b, bias, a, s: (b / s[:, None], None if bias is None else bias * s, a * s)
            ),
            "Both are multiplied: the outputs grow by the square of the scales.": (
                lambda b, bias, a, s: (
                    b * s[:, None],
                    None if bias is None else bias * s,
                    a * s,
                )
            ),
        },
        rtol=1e-4,
        hint="Row i of `before` makes input i of `after`.",
    )

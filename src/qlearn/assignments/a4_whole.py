"""Assignment 4, from the search to a whole model: references, cases and mistakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from qlearn.assignments.a4_parts import balanced, channel_scales, output_loss, rounded
from qlearn.assignments.measured import measured, measured_all, remembered
from qlearn.assignments.pocket_layer import SHARED as POCKET_SHARED
from qlearn.assignments.pocket_layer import layer_case, pocket
from qlearn.assignments.pocket_state import allowed
from qlearn.assignments.smollm2_block import SHARED, block_error, block_inputs, block_weights
from qlearn.assignments.weights import distinct_values
from qlearn.checks import Exercise

RATIOS = 20
SLACK = 1.1  # times the reference's error is as good
SAME = 1e-8  # relative squared error of a block that was only rescaled, in float32
CLEAR = 1.002  # by which the second-best exponent of a case is worse than the best

Weights = dict[str, Tensor]


def losses(weight: Tensor, inputs: Tensor, bits: int, group_size: int | None) -> list[float]:
    """The outputs' error for each exponent."""
    moment = inputs.T @ inputs / len(inputs)
    return [
        output_loss(weight, moment, channel_scales(inputs, step / RATIOS), bits, group_size)
        for step in range(RATIOS)
    ]


def best_ratio(weight: Tensor, inputs: Tensor, bits: int, group_size: int | None) -> float:
    """The exponent of the least error."""
    found = losses(weight, inputs, bits, group_size)
    return found.index(min(found)) / RATIOS


def fold(norm: Tensor, weights: Mapping[str, Tensor], scales: Tensor) -> tuple[Tensor, Weights]:
    """The norm's weight divided, the columns of every layer that it feeds multiplied."""
    return norm / scales, {name: weight * scales for name, weight in weights.items()}


def chain(
    before: Tensor, bias: Tensor | None, after: Tensor, scales: Tensor
) -> tuple[Tensor, Tensor | None, Tensor]:
    """The rows of the layer before divided, its bias too; the columns of the one after grow."""
    return before / scales[:, None], None if bias is None else bias / scales, after * scales


def awq_block(
    weights: Weights,
    inputs: Weights,
    bits: int | None,
    group_size: int | None,
    ratio: float | None = None,
) -> Weights:
    """One block: scales searched and folded, then rounded; for bits ``None`` folded with 0.5 alone.

    ``ratio`` fixes the exponent: 0 is rounding to nearest.
    """
    new = dict(weights)
    for source, layers in SHARED.items():
        names = [f"{layer}.weight" for layer in layers]
        x = inputs[layers[0]]
        power = ratio if ratio is not None else 0.5
        if ratio is None and bits is not None:
            power = best_ratio(torch.cat([new[name] for name in names]), x, bits, group_size)
        scales = channel_scales(x, power)
        made = new[f"{source}.weight"]
        new[f"{source}.weight"] = made / (scales if made.dim() == 1 else scales[:, None])
        new.update({name: new[name] * scales for name in names})
    if bits is None:
        return {name: weight for name, weight in new.items() if weight is not weights[name]}
    return {n: rounded(w, bits, group_size) if w.dim() == 2 else w for n, w in new.items()}


_usual = remembered(awq_block, most=8)
_ratio = remembered(best_ratio)
_errors = remembered(block_error, most=64)  # a check tries the same weights over and over


def measure_block(
    new: Any, old: Weights, inputs: Weights, bits: int | None, group_size: int | None
) -> Any:
    """What becomes of the block: its error as a multiple of the reference's, and its grid.

    A sentence where the weights are of another form.
    """
    try:
        error = _errors(new, old)
    except ValueError as problem:
        return str(problem)
    if bits is None:
        touched = [n for n, w in new.items() if not torch.equal(w, old[n])]
        return {"outputs as before": error <= SAME, "parameters rescaled": len(touched)}
    linear = [weight for weight in new.values() if weight.dim() == 2]
    most = max((distinct_values(weight, group_size) for weight in linear), default=0)
    reference = _errors(_usual(old, inputs, bits, group_size), old)
    return {
        "error": allowed(error / reference, 1.0, SLACK),
        "layers": len(linear),
        "on the grid": most <= 2**bits,
    }


def make_search(seed: int) -> Exercise:
    """Of twenty exponents the best one, on layers where it is clear which."""
    cases = []
    plans = (("1.mlp.down_proj", 3, 32), ("0.self_attn.q_proj", 3, None), ("1.mlp.up_proj", 4, None))
    for layer, bits, group in plans:
        for text in range(50):
            weight, inputs = layer_case(layer, 48, 160, 100 * seed + text)
            found = sorted(losses(weight, inputs, bits, group))
            if found[1] > CLEAR * found[0]:
                break
        cases.append((weight, inputs, bits, group))

    def variant(
        loss: Callable[..., float] = output_loss, pick: Any = min, divide: int = RATIOS, of: str = ""
    ) -> Callable[..., float]:
        def wrong(w: Tensor, x: Tensor, bits: int, group: int | None) -> float:
            moment = torch.eye(x.shape[1]) if of == "weights" else x.T @ x / len(x)
            tried = []
            for step in range(RATIOS):
                scales = channel_scales(x, step / RATIOS)
                if of == "largest":
                    scales = balanced(x.abs().amax(0).pow(step / RATIOS))
                tried.append(loss(w, moment, scales, bits, group))
            return tried.index(pick(tried)) / divide

        return wrong

    def in_scaled_space(w: Tensor, m: Tensor, s: Tensor, bits: int, group: int | None) -> float:
        error = rounded(w * s, bits, group) - w * s
        return float(((error @ m) * error).sum())

    return Exercise(
        id="a4.search",
        task="Write `best_ratio(weight, inputs, bits, group_size)`: of the exponents 0, 0.05, ... "
        "0.95 the one whose scales leave the least error in the layer's outputs.",
        expected=best_ratio,
        cases=cases,
        mistakes={
            "You compare errors of the weights. These hardly gain from scaling; the outputs do.": (
                variant(of="weights")
            ),
            "You return the exponent of the largest error.": variant(pick=max),
            "You return which exponent it is, counted from 0; divide by 20.": variant(divide=1),
            "Your exponents end at 1: step / 19. AWQ's are step / 20, from 0 to 0.95.": (
                variant(divide=RATIOS - 1)
            ),
            "No exponent is tried: 0 is rounding to nearest.": lambda w, x, b, g: 0.0,
            "One exponent for all layers: 0.5 is the usual start. Search it for each.": (
                lambda w, x, b, g: 0.5
            ),
            "The error is measured on the scaled weight, but with inputs that are not divided by "
            "the scales.": variant(in_scaled_space),
            "The scales are made from the largest inputs; take the mean magnitude.": (
                variant(of="largest")
            ),
        },
        rtol=0.0,
        atol=1e-6,
        hint="Twenty exponents: channel_scales, output_loss, keep the smallest.",
    )


def make_fold(seed: int) -> Exercise:
    """A norm and all the layers that it feeds."""
    cases = []
    for block, (source, layers) in ((0, POCKET_SHARED[0]), (1, POCKET_SHARED[2]), (1, POCKET_SHARED[0])):
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


def make_block(seed: int) -> Exercise:
    """A block of SmolLM2, folded alone and quantized with two schemes."""
    plans = ((None, None), (3, 64), (3, None))
    cases = [(block_weights(seed), block_inputs(seed), bits, group) for bits, group in plans]

    def fixed(ratio: float) -> Callable[..., Weights]:
        return lambda w, x, b, g: awq_block(w, x, b, g, ratio)

    def more_bits(w: Weights, x: Weights, b: int | None, g: int | None) -> Weights:
        return awq_block(w, x, b and b + 1, g, 0.4)

    def norms_as_they_were(w: Weights, x: Weights, b: int | None, g: int | None) -> Weights:
        return {n: new for n, new in _usual(w, x, b, g).items() if new.dim() == 2}

    def attention_as_it_was(w: Weights, x: Weights, b: int | None, g: int | None) -> Weights:
        new = _usual(w, x, b, g)
        return {n: t for n, t in new.items() if "mlp" in n or "post" in n}

    def unchained(w: Weights, x: Weights, b: int | None, g: int | None) -> Weights:
        new = _usual(w, x, b, g)
        up, down = "mlp.up_proj", "mlp.down_proj"
        ratio = 0.5 if b is None else _ratio(w[f"{down}.weight"], x[down], b, g)
        # Rounding knows no row's scale, so its rows may be multiplied after it.
        return {**new, f"{up}.weight": new[f"{up}.weight"] * channel_scales(x[down], ratio)[:, None]}

    def norms_multiplied(w: Weights, x: Weights, b: int | None, g: int | None) -> Weights:
        new = _usual(w, x, b, g)
        return {n: t if t.dim() == 2 else w[n] ** 2 / t for n, t in new.items()}

    def rounded_first(w: Weights, x: Weights, b: int | None, g: int | None) -> Weights:
        if b is None:
            return awq_block(w, x, b, g)
        early = {n: rounded(t, b, g) if t.dim() == 2 else t for n, t in w.items()}
        return {**early, **awq_block(early, x, None, None)}

    return Exercise(
        id="a4.block",
        task="Write `awq_block(weights, inputs, bits, group_size)`: a block's parameters, a dict "
        "name -> tensor, with scales searched and folded in where SHARED says, then all seven "
        "linear layers rounded. With `bits=None`: fold with exponent 0.5, round nothing.",
        expected=remembered(measured(_usual, measure_block)),
        cases=cases,
        mistakes=measured_all({
            "Nothing is rescaled: this is rounding to nearest.": fixed(0.0),
            "One exponent of 0.5 everywhere, without a search.": fixed(0.5),
            "One exponent of 0.95 everywhere, without a search: far too large.": fixed(0.95),
            "The norms are as they were: what their layers are fed with was not divided.": (
                norms_as_they_were
            ),
            "The columns of `down_proj` grew, and the rows of `up_proj` were not divided.": (
                unchained
            ),
            "The norms are multiplied by the scales; divide them.": norms_multiplied,
            "Folded, but not rounded: no weight is on a grid.": (
                lambda w, x, b, g: awq_block(w, x, None, None)
            ),
            "More bits than asked for: count the different values of a group.": more_bits,
            "Rounded first and rescaled after it: the scales must be there when the weights are "
            "rounded, or they help nothing.": rounded_first,
            "Attention is missing: all seven linear layers of the block are rounded.": (
                attention_as_it_was
            ),
        }, measure_block),
        rtol=2e-3,
        atol=1e-7,
        hint="For each line of SHARED: search, fold or chain. At the end round what has two "
        "dimensions.",
    )

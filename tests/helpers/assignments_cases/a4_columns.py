"""Answers to assignment 4: salient, limits, scales, loss."""

from assignments_cases import spoil
from assignments_cases.a4_right import (
    LOSS,
    LOSS_ROOT,
    SALIENT,
    SALIENT_RANK,
    SCALES,
    SCALES_LOG,
)

CALLS_SCALES = """
def channel_scales(inputs, ratio):
    from qlearn.methods.awq import channel_scales as theirs

    return theirs(inputs.flatten(0, -2).abs().mean(0), ratio)
"""
CALLS_LOSS = """
def output_loss(weight, moment, scales, bits, group_size):
    from qlearn import QuantScheme, fake_quantize
    from qlearn.methods.awq import output_error

    scheme = QuantScheme(bits, group_size=group_size)
    return output_error(fake_quantize(weight * scales, scheme) / scales - weight, moment)
"""

CASES = {
    "a4.salient": {
        "right": [SALIENT, SALIENT_RANK],
        "wrong": [
            (spoil(SALIENT, ("+= token.abs()", "+= token")), "Without magnitudes"),
            (
                spoil(SALIENT, ("+= token.abs()", "+= token"), ("total.sort", "total.abs().sort")),
                "inputs of both signs cancel",
            ),
            (
                spoil(
                    SALIENT,
                    ("total += token.abs()", "total = torch.maximum(total, token.abs())"),
                ),
                "one spike decides",
            ),
            (spoil(SALIENT, ("token.abs()", "token ** 2")), "mean square"),
            (spoil(SALIENT, ("math.ceil(", "int(")), "round the number of columns down"),
            (spoil(SALIENT, ("descending=True", "descending=False")), "smallest inputs"),
            (spoil(SALIENT_RANK, ("rank <", "rank >=")), "turned over"),
            (spoil(SALIENT, ("return mask", "return keep.sort().values")), "columns' numbers"),
            (
                spoil(
                    SALIENT_RANK,
                    ("rank < math.ceil(share * size.numel())", "size >= share * size.max()"),
                ),
                "share of the largest magnitude",
            ),
        ],
    },
    "a4.limits": {
        "right": ["limits = [1.2 / 0.3, 8 / 4, 2 / 8, 2]", "limits = (4, 2, 0.25, 2)"],
        "wrong": [
            ("limits = [4, 1, 1 / 8, 1]", "does not stay"),
            ("limits = [4, 8, 1, 8]", "from 1.2 to 2.4"),
            ("limits = [4, 2, 2, 2]", "8 times"),
            ("limits = [4, 2, 1 / 16, 4]", "squared error"),
            ("limits = [4, 2, 1 / 4, 1]", "share the step"),
            ("limits = [4, 2, 1 / 4, 1 / 4]", "only column 0"),
            ("limits = [1 / 4, 2, 1 / 4, 2]", "upside down"),
            ("limits = [3.5, 16 / 7, 2 / 7, 16 / 7]", "by magnitude"),
            ("limits = [4, 2, 4, 2]", "gains, it does not lose"),
            ("limits = [8, 2, 1 / 4, 2]", "not s itself"),
        ],
    },
    "a4.scales": {
        "right": [SCALES, SCALES_LOG],
        "wrong": [
            (spoil(SCALES, ("powers / middle", "powers")), "do not lie around 1"),
            (spoil(SCALES, ("torch.sqrt(", "(")), "square root of that product"),
            (
                spoil(SCALES, ("torch.clamp(mean ** ratio, min=1e-4)", "mean ** ratio")),
                "The floor of 1e-4",
            ),
            (spoil(SCALES, ("powers / middle", "middle / powers")), "The inverse"),
            (spoil(SCALES, ("mean ** ratio", "mean * ratio")), "is an exponent"),
            (
                spoil(SCALES, ("torch.sqrt(powers.max() * powers.min())", "powers.mean()")),
                "mean of the scales",
            ),
            (
                spoil(
                    SCALES_LOG,
                    (".mean(dim=list(range(inputs.dim() - 1)))", ".flatten(0, -2).amax(0)"),
                ),
                "SmoothQuant",
            ),
            (
                spoil(
                    SCALES_LOG,
                    (".abs().mean(dim=list(range(inputs.dim() - 1)))", ".flatten(0, -2).mean(0)"),
                    ("mean ** ratio", "mean.abs() ** ratio"),
                ),
                "signs cancel",
            ),
            (
                spoil(SCALES, (".abs()", ".abs().pow(ratio)"), ("mean ** ratio", "mean")),
                "Power first",
            ),
        ],
        "calls": [CALLS_SCALES],
    },
    "a4.loss": {
        "right": [LOSS, LOSS_ROOT],
        "wrong": [
            (spoil(LOSS, ("group_size) / scales", "group_size)")), "divided by the scales again"),
            (spoil(LOSS, ("moment.double()", "torch.eye(len(moment)).double()")), "weights' error"),
            (
                spoil(LOSS, ("moment.double()", "moment.diagonal().diag().double()")),
                "diagonal alone",
            ),
            (
                spoil(LOSS, ("moment.double()", "(moment * torch.outer(scales, scales)).double()")),
                "must not be scaled",
            ),
            (spoil(LOSS, (".mean()", ".sum()")), "sum over the outputs"),
            (
                spoil(LOSS_ROOT, ("/ len(weight)", "/ weight.numel()")),
                "number of weights",
            ),
            (spoil(LOSS, (".mean().item()", ".mean().sqrt().item()")), "This is the root"),
            (
                spoil(LOSS, ("weight * scales", "weight"), (") / scales", ")")),
                "no effect",
            ),
            (
                spoil(LOSS, ("weight * scales", "weight / scales"), (") / scales", ") * scales")),
                "wrong way round",
            ),
        ],
        "calls": [CALLS_LOSS],
    },
}

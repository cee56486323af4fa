"""Answers to assignment 3: gptq, groups, model."""

from assignments_cases import spoil
from assignments_cases.a3_right import (
    CALLS_GPTQ,
    CALLS_GROUPS,
    GIVEN,
    GPTQ,
    GPTQ_SOLVED,
    GPTQ_UPDATED,
    GROUPS,
    GROUPS_UPDATED,
    MODEL,
    MODEL_OTHER,
    NEAREST,
    stale,
)

CASES = {
    "a3.gptq": {
        "right": [GPTQ, GPTQ_UPDATED, GPTQ_SOLVED],
        "wrong": [
            (spoil(GIVEN, ("def given", "def gptq")), "stale inverse"),
            (
                spoil(GPTQ, ("/ factor[i, i]", "/ (inverse[i, i] / factor[i, i])")),
                "fresh, but",
            ),
            (
                spoil(
                    GPTQ_UPDATED,
                    ("inverse[0, 1:] / inverse[0, 0])\n", "inverse[0, 1:])\n"),
                ),
                "not divided by the inverse's",
            ),
            (
                spoil(
                    GIVEN,
                    ("def given", "def gptq"),
                    ("torch.linalg.inv(hessian.double())", "hessian.double()"),
                ),
                "take the Hessian's row",
            ),
            (
                spoil(
                    GPTQ,
                    ("torch.linalg.cholesky(inverse", "torch.linalg.cholesky(hessian.double()"),
                ),
                "factor of the Hessian",
            ),
            (spoil(GPTQ, ("-= error", "+= error")), "wrong way"),
            (spoil(GPTQ, ("upper=True", "upper=False")), "rounding to nearest"),
            (
                spoil(
                    GPTQ,
                    (
                        "left[:, i + 1 :] -= error * factor[i, i + 1 :]",
                        "left[:, i + 1 : i + 2] -= error * factor[i, i + 1 : i + 2]",
                    ),
                ),
                "Only the next column",
            ),
            (
                spoil(GPTQ, ("(column - (code", "(weight[:, i : i + 1] - (code")),
                "from the weight as given",
            ),
            (
                "def gptq(weight, hessian, scale, zero_point, bits):\n"
                "    back = forward(weight.flip(1), hessian.flip(0, 1), scale, zero_point, bits)\n"
                "    return back.flip(1)\n" + spoil(GPTQ, ("def gptq", "def forward")),
                "from last to first",
            ),
            (
                spoil(
                    GPTQ,
                    (
                        "torch.clamp(torch.round(column / scale) + zero_point, 0, 2**bits - 1)",
                        "torch.round(column / scale) + zero_point",
                    ),
                    ("code.to(torch.uint8)", "code.long().to(torch.uint8)"),
                ),
                "not clamped",
            ),
            (spoil(GPTQ, ("torch.round", "torch.trunc")), "cut towards 0"),
        ],
        "calls": [CALLS_GPTQ],
    },
    "a3.groups": {
        "right": [GROUPS, GROUPS_UPDATED],
        "wrong": [
            (stale(GROUPS), "stale here too"),
            (
                spoil(
                    GROUPS,
                    ("    top =", "    first = left.clone()\n    top ="),
                    ("group = left[", "group = first["),
                ),
                "fitted to the weight as given",
            ),
            (
                spoil(GROUPS, ("    H = hess", "    group_size = weight.shape[1]\n    H = hess")),
                "One grid for each row",
            ),
            (
                spoil(
                    GROUPS,
                    (
                        "        left[",
                        "        end = i - i % group_size + group_size\n        left[",
                    ),
                    ("i + 1 :]", "i + 1 : end]"),
                ),
                "stop at the end",
            ),
            (spoil(GROUPS, ("H += damping *", "H += 0 *")), "not damped"),
            (spoil(GROUPS, ("torch.diag(H).mean()", "torch.diag(H).max()")), "largest diagonal"),
            (spoil(GROUPS, (" * torch.diag(H).mean()", "")), "added as it is"),
            (
                spoil(
                    GROUPS,
                    ("    H[dead", "    mean = torch.diag(H).mean()\n    H[dead"),
                    ("torch.diag(H).mean() * torch.eye", "mean * torch.eye"),
                ),
                "before the dead",
            ),
            (spoil(GROUPS, ("    left[:, dead] = 0\n", "")), "set them to 0"),
            (
                spoil(GROUPS, ("    left[:, dead] = 0\n", ""), ("    H[dead, dead] = 1\n", "")),
                "not looked for",
            ),
            (
                spoil(
                    GROUPS,
                    (
                        "torch.cat(scales, 1).float(), torch.cat(zeros, 1)",
                        "torch.cat(scales, 1).float().T, torch.cat(zeros, 1).T",
                    ),
                ),
                "`[groups, rows]`",
            ),
            (spoil(GROUPS, ("upper=True", "upper=False")), "rounding to nearest"),
        ],
        "calls": [CALLS_GROUPS],
    },
    "a3.model": {
        "right": [MODEL, MODEL_OTHER],
        "wrong": [
            (stale(MODEL), "inverse is stale"),
            (NEAREST, "Nothing moves"),
            (
                spoil(
                    MODEL,
                    (
                        "hessians[name]",
                        "[h for h in hessians.values() if len(h) == weight.shape[1]][0]",
                    ),
                ),
                "its own inputs",
            ),
            (spoil(MODEL, ("group_size, 0.01", "group_size, 1.0")), "far too large"),
            (spoil(MODEL, ("hessians[name], bits", "hessians[name], 4")), "`bits` is not used"),
            (
                spoil(MODEL, ("bits, group_size, 0.01", "bits, weight.shape[1], 0.01")),
                "single grid",
            ),
            (
                spoil(
                    MODEL,
                    (
                        "        left[",
                        "        end = i - i % group_size + group_size\n        left[",
                    ),
                    ("i + 1 :]", "i + 1 : end]"),
                ),
                "end of their group",
            ),
            (
                spoil(
                    MODEL,
                    (
                        "        codes, scale",
                        "        if 'down' in name:\n            continue\n        codes, scale",
                    ),
                ),
                "left out",
            ),
            (
                spoil(
                    MODEL,
                    (
                        '{"codes": codes, "scale": scale, "zero_point": zero_point}',
                        "(codes.float() - wide(zero_point, codes)) * wide(scale, codes)",
                    ),
                    (
                        "result = {}",
                        (
                            "result = {}\n"
                            "    def wide(t, codes):\n"
                            "        return t.repeat_interleave(group_size, 1)[:, : codes.shape[1]]"
                        ),
                    ),
                ),
                "These are weights",
            ),
            (spoil(MODEL, ('"scale": scale', '"scale": scale.half()')), "rounded to float16"),
        ],
    },
}

"""Answers to assignment 5: init, lora, gradients, step."""

from assignments_cases import spoil
from assignments_cases.a5_right import (
    GRADIENTS,
    GRADIENTS_SUMS,
    INIT,
    INIT_KAIMING,
    LORA,
    LORA_LOOP,
    STEP,
    STEP_MERGED,
)

CALLS_INIT = """
def new_adapter(in_features, out_features, rank, seed):
    from qlearn.methods.lora import LoRALinear

    torch.manual_seed(seed)
    layer = LoRALinear(torch.nn.Linear(in_features, out_features), rank)
    return layer.lora_A.detach(), layer.lora_B.detach()
"""

CASES = {
    "a5.init": {
        "right": [INIT, INIT_KAIMING],
        "wrong": [
            (spoil(INIT, ("torch.zeros(", "0.02 * torch.ones(")), "changes the model"),
            (spoil(INIT, ("layer.weight.detach()", "layer.weight.detach() * 0")), "both zero"),
            (
                spoil(
                    INIT_KAIMING,
                    (
                        "    b = torch.zeros((out_features, rank))",
                        "    b = torch.randn(out_features, rank)",
                    ),
                    ("uniform_(-bound, bound, generator=generator)", "zero_()"),
                ),
                "zero one",
            ),
            (
                spoil(INIT_KAIMING, ("uniform_(-bound, bound", "normal_(0, bound")),
                "A is normal",
            ),
            (spoil(INIT_KAIMING, ("uniform_(-bound", "uniform_(0")), "from 0 to the bound"),
            (spoil(INIT_KAIMING, ("in_features ** -0.5", "1 / in_features")), "square root"),
            (spoil(INIT_KAIMING, ("in_features ** -0.5", "rank ** -0.5")), "1/sqrt(rank)"),
            (
                spoil(INIT_KAIMING, ("return [a, b]", "return a.T, b.T")),
                "turned over",
            ),
            (spoil(INIT_KAIMING, ("return [a, b]", "return a * 0 + bound, b")), "same number"),
            (spoil(INIT_KAIMING, ("return [a, b]", "return b @ a")), "two matrices"),
        ],
        "calls": [CALLS_INIT],
    },
    "a5.lora": {
        "right": [LORA, LORA_LOOP],
        "wrong": [
            (spoil(LORA, ("alpha / a.shape[0] * ", "")), "is missing"),
            (spoil(LORA, (" / a.shape[0]", "")), "The factor is alpha; divide"),
            (
                spoil(
                    LORA,
                    (
                        "a.shape[0]",
                        "math.sqrt(len(a))",
                    ),
                ),
                "rank-stabilised",
            ),
            (spoil(LORA, ("alpha / a.shape[0]", "a.shape[0] / alpha")), "upside down"),
            (spoil(LORA, ("weight + alpha", "weight - alpha")), "taken off"),
            (spoil(LORA, (" + alpha / a.shape[0] * b @ a", "")), "base alone"),
            (spoil(LORA, ("weight + alpha", "alpha")), "adapter alone"),
            (spoil(LORA, (" * absmax[owner]", "")), "not multiplied"),
            (
                spoil(
                    LORA,
                    (
                        "torch.arange(len(codes)) // 64",
                        "torch.arange(len(codes)) // a.shape[1] % len(absmax)",
                    ),
                ),
                "give each row one",
            ),
            (
                spoil(LORA, ("levels[codes.int()] * absmax[owner]", "codes.float()")),
                "codes themselves",
            ),
            (
                spoil(
                    LORA,
                    ("weight + alpha / a.shape[0] * b @ a", "alpha / len(a) * (weight + b @ a)"),
                ),
                "multiplies the base too",
            ),
        ],
    },
    "a5.gradients": {
        "right": [GRADIENTS, GRADIENTS_SUMS],
        "wrong": [
            (spoil(GRADIENTS_SUMS, ("(weight + s * b @ a)", "(s * b @ a)")), "adapter alone"),
            (spoil(GRADIENTS_SUMS, ("(weight + s * b @ a)", "weight")), "base alone"),
            (
                spoil(GRADIENTS_SUMS, ("s * torch.outer", "torch.outer")),
                "in the gradients of A and B",
            ),
            (spoil(GRADIENTS_SUMS, ("weight + s * b @ a", "weight + b @ a")), "gradient of x"),
            (spoil(GRADIENTS, ("alpha / len(a) * x", "x")), "missing everywhere"),
            (spoil(GRADIENTS, ('"a": da, "b": db', '"a": da.T, "b": db.T')), "turned over"),
            (
                spoil(GRADIENTS, ('"x": dx}', '"x": dx, "weight": upstream.T @ x.detach()}')),
                "frozen weight has a gradient",
            ),
            (
                spoil(GRADIENTS, ('"a": da, "b": db', '"a": da / len(x), "b": db / len(x)')),
                "number of tokens",
            ),
            (spoil(GRADIENTS, ('"a": da', '"a": 0 * da')), "gradient of A is 0"),
            (spoil(GRADIENTS, ('"b": db', '"b": db * b.detach()')), "multiplied by B"),
            (spoil(GRADIENTS, ("alpha / len(a)", "alpha")), "The factor is alpha"),
        ],
    },
    "a5.step": {
        "right": [STEP, STEP_MERGED],
        "wrong": [
            (
                spoil(STEP, ("if isinstance(layer, torch.nn.Linear):", "if False:")),
                "base is in floats",
            ),
            (
                spoil(
                    STEP,
                    ("levels, 64)", "levels, layer.weight.shape[1])"),
                    (
                        "// 64\n                layer",
                        "// layer.weight.shape[1]\n                layer",
                    ),
                ),
                "absmax a row",
            ),
            (spoil(STEP, ("alpha / len(pair[0])", "1.0")), "is missing"),
            (spoil(STEP, ("alpha / len(pair[0])", "alpha")), "The factor is alpha"),
            (spoil(STEP, ("lr=lr)", "lr=lr, maximize=True)")), "uphill"),
            (
                spoil(
                    STEP,
                    (
                        "optimizer.step()",
                        "for l in put.values():\n        l.a.grad = None\n    optimizer.step()",
                    ),
                ),
                "Only B",
            ),
            (
                spoil(
                    STEP,
                    (
                        "optimizer.step()",
                        "for l in put.values():\n        l.b.grad = None\n    optimizer.step()",
                    ),
                ),
                "Only A",
            ),
            (spoil(STEP, ("    optimizer.step()\n", "")), "Nothing has moved"),
            (
                spoil(STEP_MERGED, ("m - lr * next(grads)", "next(grads)")),
                "These are the gradients",
            ),
            (
                spoil(
                    STEP,
                    (
                        "logits[:, :-1].transpose(1, 2), tokens[:, 1:]",
                        "logits.transpose(1, 2), tokens",
                    ),
                ),
                "with itself",
            ),
            (spoil(STEP_MERGED, ("-chances.mean()", "-chances.sum()")), "is a sum"),
            (
                spoil(
                    STEP_MERGED, ('".layers." in name and weight.dim() == 2', "weight.dim() == 2")
                ),
                "output head",
            ),
        ],
    },
}

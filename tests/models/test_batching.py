"""The batching benchmark: its kernels against the dequantized product, its rows by name."""

import pytest
import torch
from torch import nn

from qlearn import QuantScheme, load_model, quantize
from qlearn.measure import results
from qlearn.models.blocks import block_linears
from qlearn.models.layers.kernel import KernelLinear

RECORDED = results.FOLDER / "speed" / "batching.json"
PRECISIONS = {"layer": ["FP32", "BF16", "INT8", "INT4", "qlearn INT4"]}
PRECISIONS["model"] = PRECISIONS["layer"][:4]


@pytest.fixture
def quick(bench, monkeypatch):
    """The benchmark with one round."""
    script = bench("batching")
    monkeypatch.setattr(script, "SECONDS", 0.0)
    monkeypatch.setattr(script, "LEAST_ROUNDS", 1)
    monkeypatch.setattr(script, "CACHED", 8)
    return script


@pytest.mark.parametrize("shape", [(192, 576), (576, 1536), (16, 64), (64, 160)])
@pytest.mark.parametrize("bits", [8, 4])
def test_what_is_timed_multiplies_by_the_dequantized_weight(bench, bits, shape):
    kernels = bench("_kernels")
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    layer = kernels.make(weight, bits)
    exact = quantize(weight, kernels.scheme_for(bits, shape[1])).dequantize()
    shown = layer(torch.eye(shape[1], dtype=torch.bfloat16)).float().T
    # Scale, shift and result are rounded to bfloat16; none is larger than the weights' range.
    assert (shown - exact).abs().max() <= 8 * 2**-7 * exact.abs().max()


def test_a_wrong_kernel_is_found(bench):
    kernels = bench("_kernels")
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(3))
    exact = quantize(weight, kernels.FOUR).dequantize()
    layer = kernels.make(weight, 4)
    kernels.check_product(layer, exact, torch.bfloat16)
    with pytest.raises(ValueError, match="off by"):
        kernels.check_product(nn.Linear(64, 32, bias=False).bfloat16(), exact, torch.bfloat16)
    layer.grid[0, :, 1] += layer.grid[0, :, 0]  # the zero-points are off by one
    with pytest.raises(ValueError, match="off by"):
        kernels.check_product(layer, exact, torch.bfloat16)


def test_the_layer_is_measured_in_every_precision(quick):
    rows = quick.measure("layer", 3, quick.layer_contenders(64, 3))
    assert [row["precision"] for row in rows] == PRECISIONS["layer"]
    assert rows[0]["times_float32"] == 1
    for row in rows:
        assert row["tokens_per_second"] == max(row["ways"].values()) == row["ways"][row["way"]]
    assert "_weight_int8pack_mm" in rows[2]["ways"]


@pytest.mark.usefixtures("one_thread")
def test_a_small_model_decodes_in_every_precision(quick):
    contenders = quick.decode_contenders(quick.load_variants("pocket-100k"), 2)
    rows = quick.measure("model", 2, contenders)
    assert [row["precision"] for row in rows] == PRECISIONS["model"]
    logits = {name: ways["decode"]().float() for name, ways in contenders.items()}
    again = contenders["INT4"]["decode"]().float()
    assert torch.equal(again, logits["INT4"]), "the cache is left as it was"
    groups = QuantScheme(4, False, 32)  # 64 does not divide each of its widths
    for precision, scheme in (
        ("FP32", None),
        ("BF16", None),
        ("INT8", quick.EIGHT),
        ("INT4", groups),
    ):
        exact = quick.decode_contenders({"same": dequantized(scheme)}, 2)["same"]["decode"]()
        off = (logits[precision] - exact).norm() / exact.norm()
        assert off < (1e-6 if precision == "FP32" else 0.05), precision
    moved = float((exact - logits["FP32"]).norm())  # by rounding alone, in float32
    assert (logits["INT4"] - exact).norm() < moved / 2, "nearer to its own codes than to FP32"
    assert float((logits["INT4"] - logits["FP32"]).norm()) == pytest.approx(moved, rel=0.2)


def dequantized(scheme):
    """pocket-100k in float32, its blocks' weights as the kernels' codes mean them."""
    model = load_model("pocket-100k")
    for layer in block_linears(model).values() if scheme else ():
        layer.weight.data = quantize(layer.weight.detach(), scheme).dequantize()
    return model


def test_the_model_has_no_float_layer_left(bench):
    model = load_model("pocket-100k")
    inside = [m for m in model.model.layers.modules() if isinstance(m, nn.Linear)]
    bench("_kernels").swap_linears(model, 4)
    made = [m for m in model.model.layers.modules() if isinstance(m, KernelLinear)]
    assert len(made) == len(inside) > 0
    assert not [m for m in model.model.layers.modules() if isinstance(m, nn.Linear)]


@pytest.mark.skipif(not RECORDED.exists(), reason="results/batching.json is not measured yet")
def test_the_recorded_rows_are_those_of_the_script(bench):
    script, file = bench("batching"), results.load("batching")
    wanted = [("layer", p, t) for t in script.TOKENS for p in PRECISIONS["layer"]]
    wanted += [("model", p, t) for t in script.BATCHES for p in PRECISIONS["model"]]
    rows = {(row["what"], row["precision"], row["tokens"]): row for row in file["rows"]}
    assert list(rows) == wanted
    for (what, _, tokens), row in rows.items():
        full = rows[what, "FP32", tokens]["tokens_per_second"]
        ratio = row["tokens_per_second"] / full
        assert row["times_float32"] == pytest.approx(ratio, rel=0.01, abs=0.002)

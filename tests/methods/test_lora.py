"""LoRA against finite differences, the formula written out, and bitsandbytes' NF4 as a base."""

import copy

import pytest
import torch
from tiny_models import llama
from torch import nn

from qlearn import QuantScheme, quantize_model
from qlearn.methods.lora import LoRALinear, add_lora, lora_layers, merge_lora, trainable_parameters
from qlearn.models.layers.affine import QuantizedLinear
from qlearn.models.layers.codebook import CodebookLinear
from qlearn.numerics.codebook import NF4, CodebookScheme


def adapted(base, seed=0, **options):
    """An adapter whose B is no longer zero, as after some training."""
    layer = LoRALinear(base, **options)
    generator = torch.Generator().manual_seed(seed)
    layer.lora_B.data.normal_(generator=generator)
    return layer


def nf4_linear(inputs, outputs):
    import bitsandbytes as bnb

    layer = bnb.nn.Linear4bit(
        inputs, outputs, bias=False, quant_type="nf4", compute_dtype=torch.float32
    )
    torch.manual_seed(1)
    layer.weight = bnb.nn.Params4bit(
        torch.randn(outputs, inputs), requires_grad=False, quant_type="nf4", module=layer
    )
    return layer.to("cpu").train()  # in evaluation mode a forward pass repacks the weight


def test_by_hand():
    base = nn.Linear(2, 2, bias=False)
    base.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    layer = LoRALinear(base, rank=1, alpha=3)
    layer.lora_A.data = torch.tensor([[1.0, 2.0]])
    layer.lora_B.data = torch.tensor([[1.0], [-1.0]])
    # A x = 1*4 + 2*5 = 14, times B, times alpha / rank = 3
    assert layer(torch.tensor([4.0, 5.0])).tolist() == [4 + 42, 5 - 42]
    assert layer.delta().tolist() == [[3, 6], [-3, -6]]


def test_a_fresh_adapter_changes_nothing():
    base = nn.Linear(12, 8)
    x = torch.randn(3, 5, 12)
    assert torch.equal(LoRALinear(base, rank=2)(x), base(x))


def test_gradients_against_finite_differences():
    torch.manual_seed(0)
    layer = adapted(nn.Linear(5, 4).double(), rank=2, alpha=3, dtype=torch.float64)
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)

    def forward(x, a, b):
        return torch.func.functional_call(layer, {"lora_A": a, "lora_B": b}, (x,))

    assert torch.autograd.gradcheck(forward, (x, layer.lora_A, layer.lora_B))


@pytest.mark.parametrize("kind", ["codes", "codebook", "bitsandbytes"])
def test_gradient_flows_through_a_quantized_base(kind):
    """As through an nn.Linear of the dequantized weight, written down in full."""
    torch.manual_seed(0)
    if kind == "bitsandbytes":
        base = nf4_linear(64, 32)
        import bitsandbytes.functional as bnb

        weight = bnb.dequantize_4bit(base.weight.data, base.weight.quant_state)
    else:
        kinds = {"codes": (QuantizedLinear, QuantScheme(4))}
        kinds["codebook"] = CodebookLinear, CodebookScheme(NF4, double_quant=True)
        layer_class, scheme = kinds[kind]
        base = layer_class.from_linear(nn.Linear(64, 32, bias=False), scheme)
        weight = base.dequantize()
    layer = adapted(base, rank=4, alpha=8)
    x = torch.randn(3, 64, requires_grad=True)
    seed = torch.randn(3, 32)
    layer(x).backward(seed)

    whole = weight + 2 * layer.lora_B @ layer.lora_A
    torch.testing.assert_close(x.grad, (seed @ whole).detach())
    torch.testing.assert_close(layer.lora_B.grad, 2 * seed.T @ (x @ layer.lora_A.T))
    torch.testing.assert_close(layer.lora_A.grad, 2 * (seed @ layer.lora_B).T @ x)
    through_adapter_alone = 2 * seed @ layer.lora_B @ layer.lora_A
    assert not torch.allclose(x.grad, through_adapter_alone, rtol=0.1)


def test_codes_have_no_gradient():
    model = llama()
    quantize_model(model, scheme=QuantScheme(4), progress=False)
    names = [name for name, _ in model.named_parameters()]
    assert not [name for name in names if "proj" in name], "codes are buffers, not parameters"
    model(torch.arange(8)[None]).logits.sum().backward()
    quantized = [m for m in model.modules() if isinstance(m, QuantizedLinear)]
    assert len(quantized) == 14
    assert all(not b.requires_grad and b.grad is None for m in quantized for b in m.buffers())
    with pytest.raises(RuntimeError, match="floating point"):
        quantized[0].codes.requires_grad_()


def test_only_adapters_train_and_the_first_layer_s_too():
    model = llama()
    quantize_model(model, scheme=QuantScheme(4), progress=False)
    layers = add_lora(model, rank=4, alpha=8)
    assert len(layers) == 14
    assert trainable_parameters(model) == sum(
        4 * (layer.in_features + layer.out_features) for layer in layers.values()
    )
    model(torch.arange(8)[None]).logits.square().sum().backward()
    first = layers["model.layers.0.self_attn.q_proj"]
    # B is zero, so A's gradient is zero in the first step, and B's is not.
    assert first.lora_B.grad.abs().max() > 0
    assert first.lora_A.grad.abs().max() == 0
    assert all(p.grad is None for n, p in model.named_parameters() if "lora" not in n)


@pytest.mark.parametrize("quantized", [False, True])
def test_merge_and_unmerge(quantized):
    torch.manual_seed(0)
    linear = nn.Linear(64, 16)
    base = QuantizedLinear.from_linear(linear, QuantScheme(4)) if quantized else linear
    layer = adapted(base, rank=3, alpha=5)
    x = torch.randn(7, 64)
    before, float_weight = layer(x), linear.weight.clone()
    layer.merge()
    assert layer.merged and type(layer.base) is nn.Linear
    torch.testing.assert_close(layer(x), before)
    weight = base.dequantize() if quantized else float_weight
    torch.testing.assert_close(layer.base.weight.detach(), (weight + layer.delta()).detach())
    layer.merge()  # twice is once
    torch.testing.assert_close(layer(x), before)
    layer.unmerge()
    assert layer.base is base
    assert torch.equal(layer(x), before)
    assert torch.equal(linear.weight, float_weight)


def test_merge_lora_leaves_a_plain_model():
    model = llama()
    for layer in add_lora(model, rank=2).values():
        layer.lora_B.data.normal_()
    tokens = torch.arange(10)[None]
    before = model(tokens).logits
    assert merge_lora(model) is model
    assert not any(isinstance(m, LoRALinear) for m in model.modules())
    torch.testing.assert_close(model(tokens).logits, before, rtol=1e-4, atol=1e-4)


def test_the_adapter_computes_in_its_own_dtype():
    base = nn.Linear(8, 4).to(torch.bfloat16)
    layer = adapted(base, rank=2)
    assert layer.lora_A.dtype == torch.float32
    assert layer(torch.randn(3, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_targets():
    model = llama()
    assert "lm_head" not in add_lora(copy.deepcopy(model))
    chosen = add_lora(model, targets=("q_proj", "v_proj"))
    assert sorted(chosen) == [
        f"model.layers.{i}.self_attn.{name}_proj" for i in (0, 1) for name in "qv"
    ]
    assert lora_layers(model) == chosen


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: LoRALinear(nn.ReLU()), "base=ReLU"),
        (lambda: LoRALinear(nn.Linear(8, 4), rank=5), "rank=5 .* 1 to 4"),
        (lambda: LoRALinear(nn.Linear(8, 4), rank=0), "rank=0"),
        (lambda: LoRALinear(nn.Linear(8, 4), rank=True), "rank=True"),
        (lambda: LoRALinear(nn.Linear(8, 4), rank=2.0), r"rank=2\.0"),
        (lambda: LoRALinear(nn.Linear(8, 4), rank=2, alpha=0), "alpha=0"),
        (lambda: LoRALinear(nn.Linear(8, 4), rank=2, alpha=float("nan")), "alpha=nan"),
        (lambda: LoRALinear(nn.Linear(8, 4), rank=2, dtype=torch.int8), "dtype=torch.int8"),
        (lambda: add_lora(llama(), targets="query"), "targets='query'.*q_proj"),
        (lambda: add_lora(nn.ReLU()), "all-linear"),
        (lambda: add_lora(llama(), rank=100), "rank=100"),
        (lambda: lora_layers(llama()), "call add_lora first"),
        (lambda: merge_lora(llama()), "call add_lora first"),
    ],
)
def test_bad_input(call, part):
    with pytest.raises(ValueError, match=part):
        call()


def test_a_refusal_leaves_the_model_as_it_was():
    model = llama()
    with pytest.raises(ValueError, match="rank=100"):
        add_lora(model, rank=100)
    assert trainable_parameters(model) == sum(p.numel() for p in model.parameters())
    add_lora(model, rank=2)
    with pytest.raises(ValueError, match="has adapters already"):
        add_lora(model, rank=2)


def test_a_base_without_floats_does_not_merge():
    layer = adapted(nf4_linear(64, 32), rank=2)
    with pytest.raises(ValueError, match=r"base=Linear4bit.*merge with the library"):
        layer.merge()
    assert not layer.merged

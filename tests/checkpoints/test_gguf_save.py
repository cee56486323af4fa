"""GGUF files: gguf-py and transformers read what qlearn writes, and it comes back bit for bit."""

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader
from tiny_models import llama
from transformers import AutoModelForCausalLM, AutoTokenizer

from qlearn import (
    QuantScheme,
    load_model,
    load_quantized,
    quantize_model,
    save_quantized,
)
from qlearn.checkpoints.gguf.blocks import BLOCK_BYTES, SCHEMES, from_blocks, to_blocks
from qlearn.checkpoints.gguf.container import gguf_contents
from qlearn.checkpoints.gguf.llama import stored_rows, tensor_names
from qlearn.convert.model import copy_for_quantization
from qlearn.models.blocks import set_module
from qlearn.models.layers.affine import QuantizedLinear, quantized_tensor
from qlearn.models.packaged import packaged_gguf
from qlearn.numerics.affine import QuantizedTensor, quantize

TOKENS = torch.arange(24).view(2, 12)
KINDS = list(SCHEMES)
CONVENTIONS = [QuantScheme(8, True, 32, "restricted"), QuantScheme(4, False, 32, "raw-range")]
OPTIONS = {"max_position_embeddings": 512, "tie_word_embeddings": True}


def quantized(scheme, model=None, **options):
    model = model or llama(**OPTIONS)
    quantize_model(model, scheme=scheme, progress=False, **options)
    return model


def saved(model, folder, **options):
    return save_quantized(model, folder / "m", "gguf", **options) / "model.gguf"


def logits(model, tokens=TOKENS):
    with torch.no_grad():
        return model(tokens).logits


def distance(found, expected):
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def quantized_layers(model):
    return {n: m for n, m in model.named_modules() if isinstance(m, QuantizedLinear)}


def assert_same(found, expected):
    """Both hold the same codes, scales, zero-points, schemes and floats, bit for bit."""
    layers = quantized_layers(expected)
    assert layers
    assert list(quantized_layers(found)) == list(layers)
    for name, layer in layers.items():
        other = found.get_submodule(name)
        assert (other.scheme, other.dtype) == (layer.scheme, layer.dtype)
        mine, theirs = quantized_tensor(layer), quantized_tensor(other)
        assert torch.equal(theirs.codes, mine.codes), name
        assert theirs.scale.dtype == mine.scale.dtype
        assert torch.equal(theirs.scale, mine.scale), name
        assert torch.equal(theirs.zero_point, mine.zero_point), name
    parameters = dict(expected.named_parameters())
    assert dict(found.named_parameters()).keys() == parameters.keys()
    for name, parameter in found.named_parameters():
        assert parameter.dtype == parameters[name].dtype
        assert torch.equal(parameter, parameters[name]), name


def one_block(kind, codes, scale, zero_point):
    """The bytes of one row of 32 weights."""
    scale, zero_point = torch.tensor([[scale]]), torch.tensor([[zero_point]], dtype=torch.int32)
    codes = torch.tensor([codes], dtype=torch.uint8)
    return to_blocks(
        QuantizedTensor(codes, scale, zero_point, SCHEMES[kind], codes.shape)
    ).tolist()[0]


def test_one_block_of_each_type_by_hand():
    # Float16: 1.0 is 0x3C00, 0.5 is 0x3800, -3.0 is 0xC200; the low byte comes first.
    low, high = [*range(16)], [15] * 16
    nibbles = [0xF0 + code for code in low]
    assert one_block("Q4_0", low + high, 1.0, 8) == [0x00, 0x3C, *nibbles]
    assert one_block("Q4_1", low + high, 0.5, 6) == [0x00, 0x38, 0x00, 0xC2, *nibbles]
    eight = [0, 127, 128, 129, 255] + [128] * 27
    signed = [0x80, 0xFF, 0x00, 0x01, 0x7F] + [0x00] * 27
    assert one_block("Q8_0", eight, 1.0, 128) == [0x00, 0x3C, *signed]


@pytest.mark.parametrize("kind", KINDS)
def test_gguf_py_dequantizes_the_same_weights(tmp_path, kind):
    model = quantized(SCHEMES[kind])
    tensors = {tensor.name: tensor for tensor in GGUFReader(saved(model, tmp_path)).tensors}
    names = tensor_names(2)
    for name, layer in quantized_layers(model).items():
        tensor = tensors[names[f"{name}.weight"]]
        assert tensor.tensor_type.name == kind
        found = torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).copy())
        rows = stored_rows(f"{name}.weight", model.config)
        expected = layer.dequantize() if rows is None else layer.dequantize()[rows]
        if kind == "Q4_1":
            steps = layer.scale.float().repeat_interleave(32, dim=1)
            steps = steps if rows is None else steps[rows]
            assert float(((found - expected).abs() / steps).max()) <= 15 / 2048
            assert not torch.equal(found, expected)  # the bound is not there for nothing
        else:
            assert torch.equal(found, expected)
    floats = torch.from_numpy(tensors["token_embd.weight"].data.copy())
    assert torch.equal(floats, model.model.embed_tokens.weight)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_blocks_of_gguf_py_come_back_byte_for_byte(kind):
    weight = torch.randn(24, 96, generator=torch.Generator().manual_seed(0)).numpy()
    blocks = torch.from_numpy(gguf.quantize(weight, GGMLQuantizationType[kind]))
    found = from_blocks(blocks, kind)
    assert torch.equal(to_blocks(found), blocks)
    expected = gguf.dequantize(blocks.numpy(), GGMLQuantizationType[kind])
    assert np.array_equal(QuantizedLinear(found).dequantize().numpy(), expected)


def test_q8_0_of_gguf_py_is_the_restricted_grid():
    """Both divide the largest magnitude by 127. Q4_0 divides by 8, which no scheme here does."""
    weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(1))
    found = to_blocks(quantized_tensor_of(weight, QuantScheme(8, True, 32, "restricted")))
    expected = torch.from_numpy(gguf.quantize(weight.numpy(), GGMLQuantizationType.Q8_0))
    assert torch.equal(found, expected)


def quantized_tensor_of(weight, scheme):
    """RTN as a layer stores it: with float16 scales."""
    return quantized_tensor(QuantizedLinear(quantize(weight, scheme)))


def test_names_and_order_of_rows_are_those_of_gguf_py_and_transformers():
    known = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 3)
    for ours, theirs in tensor_names(3).items():
        assert known.get_name(ours, try_suffixes=(".weight",)) == theirs
    config = llama(heads=2, **OPTIONS).config
    # A head of 16: rows 0 and 8 turn together, and become neighbours.
    assert stored_rows("self_attn.q_proj.weight", config)[:6].tolist() == [0, 8, 1, 9, 2, 10]
    assert len(stored_rows("self_attn.k_proj.weight", config)) == 32
    assert stored_rows("self_attn.v_proj.weight", config) is None


@pytest.mark.parametrize("scheme", [*SCHEMES.values(), *CONVENTIONS], ids=str)
def test_there_and_back(tmp_path, scheme):
    model = quantized(scheme)
    path = saved(model, tmp_path)
    found = load_quantized(path.parent)
    assert not found.training
    assert_same(found, model)
    assert torch.equal(logits(found), logits(model))
    assert_same(load_quantized(path), model)
    assert [file.name for file in path.parent.iterdir()] == ["model.gguf"]
    assert [folder.name for folder in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_dtypes_are_kept(tmp_path, dtype):
    model = quantized(SCHEMES["Q4_0"], llama(**OPTIONS).to(dtype))
    path = saved(model, tmp_path)
    assert_same(load_quantized(path), model)
    kinds = {row.tensor: row.type for row in gguf_contents(path)}
    assert kinds["token_embd.weight"] == {torch.bfloat16: "BF16", torch.float16: "F16"}[dtype]
    assert kinds["output_norm.weight"] == kinds["blk.1.ffn_norm.weight"] == "F32"


def test_an_untied_head_layers_left_out_and_two_types_in_one_file(tmp_path):
    model = llama(heads=4, max_position_embeddings=64, head_dim=8, rope_theta=5e5)
    head = quantized(SCHEMES["Q4_0"], model, skip=("*.mlp.*", "k_proj")).lm_head
    quantize_model_again(model, "model.layers.1.mlp.up_proj", SCHEMES["Q8_0"])
    path = saved(model, tmp_path)
    kinds = {row.tensor: row.type for row in gguf_contents(path)}
    assert [kinds[f"blk.1.{name}.weight"] for name in ("attn_q", "attn_k", "ffn_up")] == [
        "Q4_0",
        "F32",
        "Q8_0",
    ]
    found = load_quantized(path)
    assert_same(found, model)
    assert torch.equal(found.lm_head.weight, head.weight)
    theirs = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)
    assert distance(logits(theirs), logits(model)) <= 1e-6


def quantize_model_again(model, name, scheme):
    parent, _, child = name.rpartition(".")
    layer = QuantizedLinear.from_linear(model.get_submodule(name), scheme)
    setattr(model.get_submodule(parent), child, layer)


@pytest.mark.parametrize(("kind", "bound"), [("Q8_0", 1e-6), ("Q4_0", 1e-6), ("Q4_1", 1e-3)])
def test_transformers_computes_the_same_logits(tmp_path, kind, bound):
    model = quantized(SCHEMES[kind], llama(rms_norm_eps=1e-5, **OPTIONS))
    path = saved(model, tmp_path)
    theirs, report = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert distance(logits(theirs), logits(model)) <= bound
    assert torch.equal(logits(load_model(path.parent)), logits(theirs))


def test_rows_in_the_wrong_order_would_be_seen(tmp_path, monkeypatch):
    model = quantized(SCHEMES["Q8_0"])
    monkeypatch.setattr("qlearn.checkpoints.gguf.save.stored_rows", lambda name, config: None)
    path = saved(model, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)
    assert distance(logits(theirs), logits(model)) > 1e-3


def test_contents_are_named(tmp_path):
    path = saved(quantized(SCHEMES["Q4_1"]), tmp_path)
    rows = {row.tensor: row for row in gguf_contents(path)}
    assert rows["blk.0.ffn_up.weight"] == ("blk.0.ffn_up.weight", "Q4_1", (128, 64), 128 * 2 * 20)
    assert BLOCK_BYTES["Q4_1"] == 20
    assert rows["token_embd.weight"] == ("token_embd.weight", "F32", (128, 64), 128 * 64 * 4)
    assert "output.weight" not in rows  # tied
    theirs = [
        (tensor.name, tensor.tensor_type.name, tuple(tensor.shape[::-1]), tensor.n_bytes)
        for tensor in GGUFReader(path).tensors
    ]
    assert gguf_contents(path) == theirs


@pytest.mark.model
def test_the_packaged_file_is_named_and_its_codes_are_not_guessed_at():
    rows = gguf_contents(packaged_gguf())
    assert len(rows) == 272
    assert rows[0] == ("token_embd.weight", "Q8_0", (49152, 576), 49152 * 576 // 32 * 34)
    assert {row.type for row in rows[1:]} == {"F32", "Q4_1"}
    with pytest.raises(ValueError, match=r"minima are no whole number of steps.*load_model"):
        load_quantized(packaged_gguf())


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_1"])
def test_the_packaged_model(smollm, tokenizer, tmp_path, kind):
    """Q8_0 costs nothing; Q4_1 what minima in float16 do, 0.8% of these logits, and no more."""
    model = quantized(SCHEMES[kind], copy_for_quantization(smollm))
    path = saved(model, tmp_path, tokenizer=tokenizer)
    assert_same(load_quantized(path), model)
    read = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    text = "In 2025, 12 of the 345 editors wrote: 7 words!"
    tokens = tokenizer(text, return_tensors="pt").input_ids
    assert read(text).input_ids == tokens[0].tolist()
    assert read.chat_template == tokenizer.chat_template
    theirs = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)
    found = logits(theirs, tokens)
    if kind == "Q4_1":
        assert 1e-3 < distance(found, logits(model, tokens)) <= 2e-2
        round_minima(model)
    assert distance(found, logits(model, tokens)) <= 1e-6


def round_minima(model):
    """Put floats in the place of the layers: ``d q + m`` with m in float16."""
    for name, layer in quantized_layers(model).items():
        weight = quantized_tensor(layer)
        step = weight.scale.float()
        minimum = (-weight.zero_point * step).half().float()
        floats = weight.codes.view(*step.shape, 32) * step[..., None] + minimum[..., None]
        linear = torch.nn.Linear(layer.in_features, layer.out_features, bias=False)
        linear.weight = torch.nn.Parameter(floats.flatten(1), requires_grad=False)
        set_module(model, name, linear)

"""GGUF: models, tokenizers and files that are refused, and nothing half written or lost."""

import json
import struct

import gguf
import pytest
import torch
from gguf import GGUFReader, GGUFWriter
from tiny_models import gemma2, llama
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from qlearn import QuantScheme, load_quantized, quantize_model, save_quantized
from qlearn.checkpoints.gguf.blocks import SCHEMES
from qlearn.checkpoints.gguf.container import gguf_contents
from qlearn.checkpoints.gguf.tokenizer import tokenizer_metadata
from qlearn.models.layers.affine import QuantizedLinear
from qlearn.models.pocket.tokenizer import build_tokenizer

Q4_0 = SCHEMES["Q4_0"]
OPTIONS = {"max_position_embeddings": 64, "tie_word_embeddings": True}


def quantized(model=None, scheme=Q4_0, **options):
    model = model or llama(**OPTIONS)
    quantize_model(model, scheme=scheme, progress=False, **options)
    return model


@pytest.fixture
def file(tmp_path):
    """The file of a model in Q4_0."""
    return save_quantized(quantized(), tmp_path / "m", "gguf") / "model.gguf"


def tiny_scales():
    model = llama(**OPTIONS)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.mul_(1e-4)
    return quantized(model)


def large_minima():
    model = quantized(scheme=SCHEMES["Q4_1"])
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.scale.fill_(60000.0)
    return model


def two_rules():
    model = quantized(skip=("up_proj",))
    layer = model.model.layers[0].mlp
    scheme = QuantScheme(4, True, 32, "restricted")
    layer.up_proj = QuantizedLinear.from_linear(layer.up_proj, scheme)
    return model


def codebook():
    model = llama(**OPTIONS)
    quantize_model(model, "nf4", progress=False)
    return model


SCALED = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: quantized(scheme=QuantScheme(4, False, 64)), r"q_proj' is INT4 g64 asym.*Q4_1"),
        (lambda: quantized(scheme=QuantScheme(3, True, 32)), r"is INT3 g32 sym.*\(8, True, 32\)"),
        (lambda: quantized(scheme=QuantScheme(8, False, 32)), r"is INT8 g32 asym.*other format"),
        (tiny_scales, r"'model.layers.0.mlp.up_proj': scales of .*float16.*skip="),
        (large_minima, r"'model.layers.1.mlp.up_proj': minima.*too large for float16"),
        (two_rules, r"'model.layers.\d.*convention='f?.*alike"),
        (codebook, r"CodebookLinear, which format='gguf' does not hold; choose 'bitsandbytes'"),
        (lambda: quantized(gemma2()), r"model_type='gemma2' is not written as GGUF.*'llama'"),
        (lambda: quantized(llama(attention_bias=True)), r"q_proj.bias' has no place"),
        (lambda: quantized(llama(hidden_act="gelu")), r"hidden_act='gelu'.*'silu'"),
        (lambda: quantized(llama(rope_parameters=SCALED)), r"rope_parameters=.*'linear'"),
        (lambda: quantized(llama(**OPTIONS).double()), r"is torch.float64.*model.to\(torch.float"),
    ],
)
def test_models_that_are_refused(tmp_path, make, words):
    model = make()
    with pytest.raises(ValueError, match=words):
        save_quantized(model, tmp_path / "deep" / "m", "gguf")
    assert list(tmp_path.iterdir()) == []


def bpe(parts=(), merges=(("a", "b"),), byte_fallback=False, normalizer=None, special=()):
    """A byte-level tokenizer of three letters, two digits and what its merges make."""
    letters = ["a", "b", "c", "1", "2"]
    vocab = {token: i for i, token in enumerate([*letters, *map("".join, merges)])}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=list(merges), byte_fallback=byte_fallback))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([*parts, byte_level])
    backend.normalizer = normalizer
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>")
    tokenizer.add_tokens(list(special))
    return tokenizer


def test_a_tokenizer_by_hand():
    found = tokenizer_metadata(bpe(special=["<think>"]), 10)
    tokens = ["a", "b", "c", "1", "2", "ab", "<s>", "<think>", "[PAD8]", "[PAD9]"]
    assert found["tokenizer.ggml.tokens"] == tokens
    assert found["tokenizer.ggml.token_type"] == [1, 1, 1, 1, 1, 1, 3, 4, 5, 5]
    assert found["tokenizer.ggml.merges"] == ["a b"]
    assert found["tokenizer.ggml.bos_token_id"] == 6
    assert found["tokenizer.ggml.add_bos_token"] is False
    assert "tokenizer.ggml.eos_token_id" not in found
    assert tokenizer_metadata(None, 10) == {"tokenizer.ggml.model": "none"}


@pytest.mark.parametrize(
    ("tokenizer", "name"),
    [
        (bpe(), "smollm"),
        (bpe([pre_tokenizers.Digits(individual_digits=True)], [("1", "2")]), "smollm"),
        (bpe(merges=[("1", "2")]), "gpt-2"),
    ],
)
def test_the_rule_that_cuts_text_is_named(tokenizer, name):
    assert tokenizer_metadata(tokenizer, 10)["tokenizer.ggml.pre"] == name


@pytest.mark.parametrize(
    ("tokenizer", "words"),
    [
        (build_tokenizer(64), r"tokenizer is WordLevel.*tokenizer=None"),
        (bpe(byte_fallback=True), r"tokenizer is SentencePiece BPE.*tokenizer=None"),
        (bpe([pre_tokenizers.Punctuation()]), r"pre_tokenizer=\['Punctuation', 'ByteLevel'\]"),
        (bpe([pre_tokenizers.Digits()]), r"pre_tokenizer=\['Digits', 'ByteLevel'\]"),
        (bpe(normalizer=normalizers.NFC()), r"normalizer=NFC"),
        (bpe(special=map(str, range(200))), r"ids up to \d+, the model 128 embeddings"),
        (object(), r"tokenizer=object has no description"),
    ],
)
def test_tokenizers_that_are_refused(tmp_path, tokenizer, words):
    with pytest.raises(ValueError, match=words):
        save_quantized(quantized(), tmp_path / "m", "gguf", tokenizer=tokenizer)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_what_was_there(file, monkeypatch):
    before = file.read_bytes()

    def full(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(GGUFWriter, "write_kv_data_to_file", full)
    for name in ("m", "n"):
        with pytest.raises(OSError, match="No space"):
            save_quantized(quantized(), file.parent.parent / name, "gguf", overwrite=True)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.parent.iterdir()] == ["m"]


def test_a_folder_is_overwritten_when_asked(file):
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_quantized(quantized(), file.parent, "gguf")
    save_quantized(quantized(), file.parent, "awq", overwrite=True)
    assert not file.exists()
    save_quantized(quantized(), file.parent, "gguf", overwrite=True)
    assert [path.name for path in file.parent.iterdir()] == ["model.gguf"]


def test_saving_leaves_the_model_as_it_was(tmp_path):
    model = quantized()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = model.config.to_dict()
    save_quantized(model, tmp_path / "m", "gguf")
    assert model.config.to_dict() == config
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("length", [0, 3, 40, 700, -40000, -1])
def test_a_file_that_was_cut_short_is_an_oserror(file, length):
    file.write_bytes(file.read_bytes()[:length])
    for read in (gguf_contents, load_quantized):
        with pytest.raises(OSError, match=r"model.gguf is not a whole GGUF file.*fetch it again"):
            read(file)


def test_damage_anywhere_before_the_weights_never_ends_in_another_error(file):
    """Each byte of the header, turned over: refused as damaged or unknown, or of no consequence."""
    whole = bytearray(file.read_bytes())
    refused = 0
    for place in range(0, min(tensor.data_offset for tensor in GGUFReader(file).tensors), 3):
        whole[place] ^= 0xFF
        file.write_bytes(whole)
        whole[place] ^= 0xFF
        try:
            gguf_contents(file)
            if place % 60 == 0:
                load_quantized(file)
        except (OSError, ValueError):
            refused += 1
    assert refused > 100


def edit_scale(file, pattern):
    tensor = next(t for t in GGUFReader(file).tensors if t.name == "blk.1.ffn_down.weight")
    data = bytearray(file.read_bytes())
    struct.pack_into("<H", data, tensor.data_offset, pattern)
    file.write_bytes(data)


def test_scales_that_are_not_numbers_are_refused(file):
    edit_scale(file, 0x7E00)
    with pytest.raises(OSError, match=r"layers.1.mlp.down_proj': its scales hold NaN"):
        load_quantized(file)


def written(path, arch="llama", change=lambda key, value: value, lost=(), extra=()):
    """A copy of a file with its metadata or its tensors changed."""
    reader = GGUFReader(path)
    copy = path.with_name("copy.gguf")
    writer = GGUFWriter(copy, arch)
    for field in reader.fields.values():
        if not field.name.startswith(("GGUF.", "general.arch")) and field.name not in lost:
            value = change(field.name, field.contents())
            writer.add_key_value(field.name, value, field.types[0])
    for tensor in reader.tensors:
        if tensor.name not in lost:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    for name, data, kind in extra:
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return copy


@pytest.mark.parametrize(
    ("error", "options", "words"),
    [
        (ValueError, {"arch": "qwen2"}, r"architecture 'qwen2'.*load_model"),
        (
            ValueError,
            {"extra": [("rope_freqs.weight", torch.ones(8).numpy(), None)]},
            r"'rope_freqs.weight', which",
        ),
        (OSError, {"lost": ["llama.block_count"]}, r"does not describe a Llama.*block_count"),
        (OSError, {"lost": ["token_embd.weight"]}, r"does not describe a Llama.*token_embd"),
        (OSError, {"lost": ["blk.1.ffn_up.weight"]}, r"lacks 1 of.*layers.1.mlp.up_proj.weight"),
        (OSError, {"lost": ["output_norm.weight"]}, r"lacks 1 of.*model.norm.weight"),
    ],
)
def test_files_that_are_refused(file, error, options, words):
    copy = written(file, **options)
    with pytest.raises(error, match=words):
        load_quantized(copy)


def test_tensors_of_another_size_are_refused(file):
    def change(key, value):
        return value // 2 if key == "llama.feed_forward_length" else value

    with pytest.raises(OSError, match=r"mlp.gate_proj' has the shape \(128, 64\), \(64, 64\)"):
        load_quantized(written(file, change=change))


def test_a_model_of_billions_of_blocks_is_not_built(file):
    def change(key, value):
        return 2**32 - 1 if key == "llama.block_count" else value

    with pytest.raises(OSError, match=r"block_count=4294967295, which its tensors do not bear"):
        load_quantized(written(file, change=change))


def test_types_that_no_grid_holds_are_refused(file):
    kind = gguf.GGMLQuantizationType.Q5_0
    name, blocks = "blk.0.ffn_up.weight", gguf.quantize(torch.randn(128, 64).numpy(), kind)
    copy = written(file, lost=[name], extra=[(name, blocks, kind)])
    with pytest.raises(ValueError, match=r"mlp.up_proj' has the type Q5_0; Q8_0, Q4_0, Q4_1 are"):
        load_quantized(copy)


def test_places_with_other_files(file, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_quantized(tmp_path / "none.gguf")
    with pytest.raises(FileNotFoundError, match="is not a file"):
        gguf_contents(tmp_path)
    (file.parent / "second.gguf").write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match="holds 2 GGUF files"):
        load_quantized(file.parent)
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "notes.json").write_text(json.dumps({}), encoding="utf-8")
    with pytest.raises(FileExistsError, match=r"no config.json and no model.gguf"):
        save_quantized(quantized(), other, "gguf", overwrite=True)

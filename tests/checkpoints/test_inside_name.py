"""What a model's name claims."""

import pytest

from qlearn.checkpoints.inside.name import read_name

# name: (method, bits, bits of the inputs, group, llama.cpp's type)
NAMES = {
    "Qwen2.5-7B-Instruct-GPTQ-Int4": ("gptq", (4,), None, None, None),
    "Qwen2.5-7B-Instruct-AWQ": ("awq", (), None, None, None),
    "Llama-3.2-1B-Instruct-bnb-4bit": ("bitsandbytes", (4,), None, None, None),
    "Meta-Llama-3.1-8B-Instruct-quantized.w4a16": (None, (4,), None, None, None),
    "Meta-Llama-3.1-8B-Instruct-quantized.w8a8": (None, (8,), 8, None, None),
    "Llama-3.1-8B-FP8-dynamic": (None, (8,), None, None, None),
    "model.Q4_K_M.gguf": ("gguf", (4,), None, None, "Q4_K_M"),
    "model-IQ2_XS.gguf": ("gguf", (2,), None, None, "IQ2_XS"),
    "SmolLM2-135M-Instruct.Q4_1.gguf": ("gguf", (4,), None, None, "Q4_1"),
    "gptq-4bit-128g": ("gptq", (4,), None, 128, None),
    "model-w4a16-g128": (None, (4,), None, 128, None),
    "model-INT8": (None, (8,), None, None, None),
    "bitnet-b1.58-2B-4T": ("bitnet", (1.58,), None, None, None),
    "Llama3-8B-1.58bit": (None, (1.58,), None, None, None),
    "model-4.65bpw-exl2": ("exl2", (4.65,), None, None, None),
    "model-GPTQ-Int8-4bit": ("gptq", (8, 4), None, None, None),
    "Phi-3.5-mini-instruct-int4-ov": ("openvino", (4,), None, None, None),
    "microsoft/DialoGPT-medium-GPTQ": ("gptq", (), None, None, None),
    # Sizes and versions are no bits.
    "Llama-3.2-4B": (None, (), None, None, None),
    "Qwen3-8B": (None, (), None, None, None),
    "opt-125m": (None, (), None, None, None),
}


@pytest.mark.parametrize("name", NAMES)
def test_names(name):
    claim = read_name(name)
    found = (
        claim.method,
        claim.bits,
        claim.activation_bits,
        claim.group_size,
        claim.file_type,
    )
    assert found == NAMES[name]


def test_a_sentence_names_all_that_is_claimed():
    said = read_name("model-w8a8-g64-GPTQ").sentence
    assert said == "The name claims: gptq, 8 bits, inputs in 8 bits, groups of 64."
    assert read_name("opt-125m").sentence == "The name claims nothing."


@pytest.mark.parametrize("name", ["", "  ", None, 4])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(ValueError, match="name="):
        read_name(name)

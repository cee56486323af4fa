"""What is stored for QLoRA, what takes a gradient, and what comes back from codes."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qlearn import QuantScheme, load_model, quantize
from qlearn.methods.qat import round_on_grid
from qlearn.models.blocks import block_linears
from qlearn.models.packaged import converted_folder


def qlora_tensors() -> list[dict[str, Any]]:
    """Bits a weight of QLoRA's base and of the adapters that peft puts on it by default."""
    sys.modules["gptqmodel"] = None  # type: ignore[assignment] # a reader's kernel lacks it
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = AutoModelForCausalLM.from_pretrained(
        converted_folder("smollm2-135m"), quantization_config=config, dtype=torch.bfloat16
    )
    layers = [module for module in model.modules() if type(module).__name__ == "Linear4bit"]
    bits = 8 * sum(map(_stored_bytes, layers))
    weights = sum(layer.in_features * layer.out_features for layer in layers)
    adapted = get_peft_model(model, LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))
    kinds = {parameter.dtype for parameter in adapted.parameters() if parameter.requires_grad}
    (kind,) = kinds
    return [
        {"what": "qlora tensor", "tensor": "base", "bits": round(bits / weights, 4)},
        {"what": "qlora tensor", "tensor": "adapter", "bits": 8 * kind.itemsize},
    ]


def gradient() -> list[dict[str, Any]]:
    """Whether codes take a gradient, and whether the floats they stand for do."""
    codes = quantize(torch.linspace(-1, 1, 64)[None], QuantScheme(4, False, 64))
    rows = []
    for name, tensor in (("codes", codes.codes), ("floats", codes.dequantize())):
        try:
            tensor.clone().requires_grad_()
        except RuntimeError as error:
            rows.append({"tensor": name, "refuses": True, "error": str(error)})
        else:
            rows.append({"tensor": name, "refuses": False, "error": None})
    return [{"what": "gradient", **row} for row in rows]


def round_trips() -> list[dict[str, Any]]:
    """Weights to codes and back: which come back exactly."""
    trained = _weights("pocket-4m")
    from_gguf = _weights("smollm2-135m")
    cases = {
        "pocket-4m, INT8": _affine(trained, QuantScheme(8, False, None)),
        "pocket-4m, INT4 in groups of 32": _affine(trained, QuantScheme(4, False, 32)),
        "smollm2-135m, INT4 in groups of 64": _affine(from_gguf, QuantScheme(4, False, 64)),
        "smollm2-135m, GGUF's Q4_1": _q4_1(from_gguf),
    }
    return [
        {"what": "round trip", "weights": name, "recovered": weights, "codes_recovered": codes}
        for name, (weights, codes) in cases.items()
    ]


def _weights(name: str) -> list[Tensor]:
    """Three layers of a model's first block whose inputs divide by 64."""
    layers = list(block_linears(load_model(name)).values())[:7]
    return [layer.weight.detach() for layer in layers if layer.weight.shape[1] % 64 == 0][:3]


def _affine(weights: list[Tensor], scheme: QuantScheme) -> tuple[float, float]:
    """Shares of weights, and of codes fitted to the same grid again, that come back."""
    same = again = count = 0
    for weight in weights:
        codes = quantize(weight, scheme)
        back = codes.dequantize()
        second = round_on_grid(back, codes.scale, codes.zero_point, scheme)
        same += int((back == weight).sum())
        again += int((second.codes == codes.codes).sum())
        count += weight.numel()
    return round(same / count, 5), round(again / count, 5)


def _q4_1(weights: list[Tensor]) -> tuple[float, float]:
    from gguf import GGMLQuantizationType, quants

    kind = GGMLQuantizationType.Q4_1
    same = again = count = size = 0
    for weight in weights:
        array = weight.float().numpy()
        codes = quants.quantize(array, kind)
        back = quants.dequantize(codes, kind)
        same += int((back == array).sum())
        second = quants.quantize(back, kind)
        again += int((second == codes).sum())
        count, size = count + array.size, size + np.asarray(codes).size
    return round(same / count, 5), round(again / size, 5)


def _stored_bytes(layer: Any) -> int:
    """Codes and all that is needed to read them, of one layer of bitsandbytes."""
    state = layer.weight.quant_state
    parts = [layer.weight.data, state.absmax, state.state2.absmax]
    return sum(part.numel() * part.element_size() for part in parts)

"""qlearn: quantization from FP32 bits to INT4 models, readable and tested.

Names load on first use, so that ``import qlearn`` takes milliseconds and needs torch alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "QuantScheme": "numerics.scheme",
    "QuantizedTensor": "numerics.affine",
    "quantize": "numerics.affine",
    "dequantize": "numerics.affine",
    "fake_quantize": "numerics.affine",
    "choose_qparams": "numerics.affine",
    "sqnr": "numerics.affine",
    "load_model": "models.load",
    "load_tokenizer": "models.load",
    "load_tokens": "models.text",
    "load_reviews": "models.text",
    "quantize_blockwise": "numerics.codebook",
    "quantize_model": "convert.model",
    "copy_for_quantization": "convert.model",
    "QuantizationReport": "convert.model",
    "QuantizedLinear": "models.layers.affine",
    "CodebookLinear": "models.layers.codebook",
    "save_quantized": "checkpoints.save",
    "load_quantized": "checkpoints.load",
    "perplexity": "measure.evaluate",
    "kl_divergence": "measure.evaluate",
    "top1_agreement": "measure.evaluate",
    "compare": "measure.evaluate",
    "estimate_memory": "measure.memory.inference",
    "Explorer": "teach.explorer.explorer",
    "check": "teach.checks.checker",
}

if TYPE_CHECKING:
    from qlearn.checkpoints.load import load_quantized as load_quantized
    from qlearn.checkpoints.save import save_quantized as save_quantized
    from qlearn.convert.model import QuantizationReport as QuantizationReport
    from qlearn.convert.model import copy_for_quantization as copy_for_quantization
    from qlearn.convert.model import quantize_model as quantize_model
    from qlearn.measure.evaluate import compare as compare
    from qlearn.measure.evaluate import kl_divergence as kl_divergence
    from qlearn.measure.evaluate import perplexity as perplexity
    from qlearn.measure.evaluate import top1_agreement as top1_agreement
    from qlearn.measure.memory.inference import estimate_memory as estimate_memory
    from qlearn.models.layers.affine import QuantizedLinear as QuantizedLinear
    from qlearn.models.layers.codebook import CodebookLinear as CodebookLinear
    from qlearn.models.load import load_model as load_model
    from qlearn.models.load import load_tokenizer as load_tokenizer
    from qlearn.models.text import load_reviews as load_reviews
    from qlearn.models.text import load_tokens as load_tokens
    from qlearn.numerics.affine import QuantizedTensor as QuantizedTensor
    from qlearn.numerics.affine import choose_qparams as choose_qparams
    from qlearn.numerics.affine import dequantize as dequantize
    from qlearn.numerics.affine import fake_quantize as fake_quantize
    from qlearn.numerics.affine import quantize as quantize
    from qlearn.numerics.affine import sqnr as sqnr
    from qlearn.numerics.codebook import quantize_blockwise as quantize_blockwise
    from qlearn.numerics.scheme import QuantScheme as QuantScheme
    from qlearn.teach.checks.checker import check as check
    from qlearn.teach.explorer.explorer import Explorer as Explorer


__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"qlearn.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'qlearn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})

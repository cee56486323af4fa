"""qlearn: quantization from FP32 bits to INT4 models, readable and tested.

Names load on first use, so that ``import qlearn`` takes milliseconds and needs torch alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "QuantScheme": "scheme",
    "QuantizedTensor": "affine",
    "quantize": "affine",
    "dequantize": "affine",
    "fake_quantize": "affine",
    "choose_qparams": "affine",
    "sqnr": "affine",
    "load_model": "zoo",
    "load_tokenizer": "zoo",
    "load_tokens": "corpora",
    "load_reviews": "corpora",
    "quantize_blockwise": "codebook",
    "quantize_model": "convert",
    "copy_for_quantization": "convert",
    "QuantizationReport": "convert",
    "QuantizedLinear": "layers",
    "CodebookLinear": "layer_codebook",
    "save_quantized": "export",
    "load_quantized": "export_load",
    "perplexity": "evaluate",
    "kl_divergence": "evaluate",
    "top1_agreement": "evaluate",
    "compare": "evaluate",
    "estimate_memory": "memory",
    "Explorer": "explorer",
    "check": "checks",
}

if TYPE_CHECKING:
    from qlearn.affine import QuantizedTensor as QuantizedTensor
    from qlearn.affine import choose_qparams as choose_qparams
    from qlearn.affine import dequantize as dequantize
    from qlearn.affine import fake_quantize as fake_quantize
    from qlearn.affine import quantize as quantize
    from qlearn.affine import sqnr as sqnr
    from qlearn.checks import check as check
    from qlearn.codebook import quantize_blockwise as quantize_blockwise
    from qlearn.convert import QuantizationReport as QuantizationReport
    from qlearn.convert import copy_for_quantization as copy_for_quantization
    from qlearn.convert import quantize_model as quantize_model
    from qlearn.corpora import load_reviews as load_reviews
    from qlearn.corpora import load_tokens as load_tokens
    from qlearn.evaluate import compare as compare
    from qlearn.evaluate import kl_divergence as kl_divergence
    from qlearn.evaluate import perplexity as perplexity
    from qlearn.evaluate import top1_agreement as top1_agreement
    from qlearn.explorer import Explorer as Explorer
    from qlearn.export import save_quantized as save_quantized
    from qlearn.export_load import load_quantized as load_quantized
    from qlearn.layer_codebook import CodebookLinear as CodebookLinear
    from qlearn.layers import QuantizedLinear as QuantizedLinear
    from qlearn.memory import estimate_memory as estimate_memory
    from qlearn.scheme import QuantScheme as QuantScheme
    from qlearn.zoo import load_model as load_model
    from qlearn.zoo import load_tokenizer as load_tokenizer


__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"qlearn.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'qlearn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})

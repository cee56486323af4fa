"""`quantize_model`: a method applied to a whole model, block by block."""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "model": ["quantize_model", "copy_for_quantization"],
        "report": ["QuantizationReport"],
        "calibration": ["calibrate", "gather"],
        "statistics": ["Hessian", "AbsMean", "AbsMax", "Inputs"],
        "folding": ["find_foldings", "fold"],
        "qat": ["prepare_qat", "convert_qat"],
    },
)

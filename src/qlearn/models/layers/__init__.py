"""Linear layers that keep their weight as codes, and fast kernels for them."""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "affine": ["QuantizedLinear", "quantized_tensor"],
        "codebook": ["CodebookLinear"],
        "int8": ["Int8Linear"],
        "kernel": ["KernelLinear", "use_kernels"],
        "kernel_llama": ["fuse_layers"],
        "copies": ["copy_for_quantization", "dequantize_model"],
    },
)

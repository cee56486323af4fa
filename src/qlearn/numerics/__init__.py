"""Numbers, grids, codes, codebooks and packing: torch alone."""

from qlearn import lazily

__all__, __getattr__, __dir__ = lazily(
    __name__,
    {
        "formats": [
            "FP32",
            "FP16",
            "BF16",
            "FP8_E4M3",
            "FP8_E5M2",
            "FP4_E2M1",
            "INT4",
            "INT8",
            "encode",
            "decode",
            "fields",
            "neighbours",
        ],
        "scheme": ["QuantScheme"],
        "affine": [
            "QuantizedTensor",
            "choose_qparams",
            "quantize",
            "dequantize",
            "fake_quantize",
            "sqnr",
        ],
        "packing": ["pack", "unpack"],
        "codebook": ["NF4", "FP4", "CodebookScheme", "BlockwiseTensor", "quantize_blockwise"],
        "int8": ["absmax_int8", "int8_product", "dequantize_product"],
        "outliers": ["outlier_columns", "decompose", "llm_int8"],
    },
)

"""A small Llama, quantized."""

from tiny_models import llama

from qlearn import QuantScheme, quantize_model


def quantized(scheme=QuantScheme(4, False, 32), **options):  # noqa: B008
    model = llama(**options)
    quantize_model(model, "rtn", scheme, progress=False)
    return model

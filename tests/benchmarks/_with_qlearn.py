"""qlearn on one run of ``libraries.py``."""

from _child import Run, measured

from qlearn import QuantScheme, load_model, quantize_model, save_quantized

run = Run.given()
model = load_model(run.model)
scheme = QuantScheme(run.bits, run.symmetric, 64)
options = {"method": "awq", "rounding": "gptq"} if "+" in run.method else {"method": run.method}
measured(
    run,
    "qlearn",
    lambda: quantize_model(model, scheme=scheme, calibration=run.tokens, progress=False, **options),
)
save_quantized(model, run.folder / "model", format="compressed-tensors")

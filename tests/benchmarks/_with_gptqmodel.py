"""GPTQModel on one run of ``libraries.py``, at its defaults but for bits, group and symmetry."""

from _child import Run, measured
from gptqmodel import GPTQModel, QuantizeConfig

run = Run.given()
config = QuantizeConfig(bits=run.bits, group_size=64, sym=run.symmetric)
model = GPTQModel.load(run.model, config, device="cpu")
rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in run.tokens.tolist()]
measured(run, "gptqmodel", lambda: model.quantize(rows, batch_size=1))
model.save(str(run.folder / "model"))

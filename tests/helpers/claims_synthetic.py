"""Results as the rules read them, made up so that each rule has something to judge."""

from copy import deepcopy

from qlearn.course.claims.common import ARITHMETIC, PLAIN
from qlearn.course.claims.verdicts import published
from qlearn.measure import results
from qlearn.measure.choose import evidence

REAL = ("rtn", "calibrated", "calibration_sets", "libraries", "qat", "qlora", "sentiment")
POCKETS = {"pocket-100k": 1, "pocket-400k": 4, "pocket-1m": 12, "pocket-4m": 40}
LOST = {8: 0.0, 4: 0.02, 3: 0.1, 2: 0.7}  # by the smallest model on plain tasks


def level(model, method, bits, group_size, **more):
    row = {
        "model": model,
        "method": method,
        "bits": bits,
        "group_size": group_size,
        "symmetric": None if method in ("float32", "bfloat16") else False,
        "bits_per_weight": float(bits),
        "perplexity": 10.0,
        "kl_divergence": 0.0,
        "accuracy": None,
        "source": "choosing",
    }
    return {**row, **more}


def quality_rows():
    rows = []
    for model, size in POCKETS.items():
        solved = dict.fromkeys((*PLAIN, *ARITHMETIC), 1.0) | {"add4": size / 50}
        for method, bits in (("float32", 32), ("bfloat16", 16)):
            stored = size * bits * 1000
            rows.append(
                level(model, method, bits, None, accuracy=solved, bytes=stored,
                      shipped_bytes=stored)
            )  # fmt: skip
        for method, worse in (("rtn", 1.0), ("gptq", 0.5), ("awq", 0.8)):
            for bits, lost in LOST.items():
                part = lost * worse / size**0.5
                accuracy = {task: share * (1 - part) for task, share in solved.items()}
                accuracy |= {task: accuracy[task] * (1 - part) for task in ARITHMETIC}
                stored = size * bits * 1000
                rows.append(
                    level(model, method, bits, None, accuracy=accuracy, bytes=stored,
                          shipped_bytes=stored)
                )  # fmt: skip
    smollm = [("float32", 32, None, 40.0, 0.0), ("rtn", 8, None, 40.2, 0.003)]
    smollm += [("rtn", 4, 64, 55.0, 0.35), ("gptq", 4, 64, 50.0, 0.18), ("awq", 4, 64, 48.0, 0.14)]
    smollm += [("rtn", 3, 64, 130.0, 1.3), ("gptq", 3, 64, 78.0, 0.65)]
    for method, bits, group, perplexity, divergence in smollm:
        measured = {"perplexity": perplexity, "kl_divergence": divergence}
        rows.append(
            level("smollm2-135m", method, bits, group, **measured, bytes=bits, shipped_bytes=bits,
                  source="rtn")
        )  # fmt: skip
    return rows


def memory_rows():
    footprints = {"FP32": 538.06e6, "BF16": 269.03e6, "INT8": 164e6, "INT4": 114e6}
    return [
        {"what": what, "precision": precision, "predicted": size, "measured": size, "ratio": 1.0}
        for precision, size in footprints.items()
        for what in ("footprint", "kv_cache", "growth", "decode")
    ]


def batching_rows():
    speeds = {"FP32": 1.0, "BF16": 1.8, "INT8": 3.0, "INT4": 4.0}
    slower = {1: 1.0, 8: 0.8, 32: 0.5, 128: 0.4, 512: 0.3}  # of what codes gain
    return [
        {
            "what": what,
            "precision": precision,
            "tokens": tokens,
            "tokens_per_second": tokens * 100 * times * (share if precision[0] == "I" else 1),
            "times_float32": times * (share if precision[0] == "I" else 1),
        }
        for what in ("layer", "model")
        for precision, times in speeds.items()
        for tokens, share in slower.items()
    ]


def harness_rows():
    return [
        {"precision": "FP32", "accuracy": 0.8, "difference": None,
         "difference_standard_error": None, "questions": 1000},
        {"precision": "INT4 RTN", "accuracy": 0.76, "difference": -0.04,
         "difference_standard_error": 0.01, "questions": 1000},
    ]  # fmt: skip


def tools_rows():
    package = {"checked": "2026-11-25", "installs": False, "imports": False, "version": "0.7.1"}
    canary = {"broken": 16, "found": 16, "healthy": 20, "false_alarms": 0, "questions": 160}
    starts = {"transformers and bitsandbytes": 6, "qlearn": 6, "openvino and nncf": 14}
    speeds = {("torch", "FP32"): 10.0, ("torch", "BF16"): 18.0, ("openvino", "INT8"): 30.0,
              ("openvino", "INT4"): 40.0}  # fmt: skip
    rows = [
        {"what": "article call", "form": "keyword", "loads": False, "raises": "TypeError"},
        {"what": "article call", "form": "config", "loads": False, "raises": "ValueError"},
        {"what": "article call", "form": "today", "loads": True, "raises": None},
        {"what": "package", "name": "auto-gptq", "released": "2024-03-01", **package},
        {"what": "qlora tensor", "tensor": "base", "bits": 4.127},
        {"what": "qlora tensor", "tensor": "adapter", "bits": 32},
        {"what": "gradient", "tensor": "codes", "refuses": True},
        {"what": "canary", **canary},
        {"what": "qdq", "precision": "FP32", "milliseconds": 2.0},
        {"what": "qdq", "precision": "INT8", "milliseconds": 1.0},
    ]
    rows += [
        {"what": "start", "tool": tool, "statements": count, "runs": True, "seconds": 9.0}
        for tool, count in starts.items()
    ]
    rows += [
        {"what": "speed", "tool": tool, "precision": precision, "tokens_per_second": speed}
        for (tool, precision), speed in speeds.items()
    ]
    rows += [
        {"what": "load", "format": name, "loads": loads, "seconds": 2.0, "quantize_seconds": 54.0}
        for name, loads in (("gptq", False), ("awq", False), ("bitsandbytes", True))
    ]
    rows += [
        {"what": "round trip", "weights": name, "recovered": share, "codes_recovered": 1.0}
        for name, share in (("trained", 0.001), ("on the grid", 1.0))
    ]
    return rows


def synthetic():
    """A mapping of its own at each call."""
    found = {name: deepcopy(results.load(name)) for name in (*REAL, "gptq_layer")}
    made = {
        "quality": quality_rows(),
        "memory": memory_rows(),
        "batching": batching_rows(),
        "harness": harness_rows(),
        "tools": tools_rows(),
    }
    made["evidence"] = evidence.published()
    found |= {name: {"rows": rows} for name, rows in made.items()}
    return {**found, "published": deepcopy(dict(published()))}

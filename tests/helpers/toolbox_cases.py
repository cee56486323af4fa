"""Rows of a tools table that nobody measured, for the tests of what reads them."""

BASE = {
    "install": "pip install torch",
    "lines": ["model = load()", "write(model)"],
    "needs": "any CPU",
    "group": None,
    "tool": "torch",
    "version": "2.0",
    "packages": {"torch": "2.0"},
    "newest": "2.1",
    "released": "2026-01-02",
    "checked": "2026-02-03",
    "state": "",
    "notes": "",
    "seconds_to_make": 3.0,
    "make_peak_bytes": 2_000_000_000,
    "seconds_to_load": 1.0,
    "peak_bytes": 1_500_000_000,
    "top1": 0.9,
    "error": None,
    "tried": None,
    "measured": "2026-02-03",
}
MEASURED = (
    "disk_bytes",
    "resident_bytes",
    "perplexity",
    "kl",
    "tokens_per_second_1",
    "times_float32_1",
    "tokens_per_second_8",
    "times_float32_8",
)


def row(name, title, bits, disk, memory, perplexity, kl, one, eight):
    figures = (disk * 1e6, memory * 1e6, perplexity, kl, one, one / 20, eight, eight / 100)
    return {
        **BASE,
        "name": name,
        "title": title,
        "bits": bits,
        **dict(zip(MEASURED, figures, strict=True)),
    }


def failed(name, title, bits):
    nothing = dict.fromkeys([*MEASURED, "seconds_to_make", "make_peak_bytes", "newest"])
    words = {"error": "RuntimeError: no <kernel>", "tried": "two versions"}
    return {**BASE, "name": name, "title": title, "bits": bits, **nothing, **words}


ROWS = [
    row("b-int8", "Tool B, INT8", 8, 160, 700, 42.5, 0.002, 30, 110),
    row("torch-fp32", "PyTorch, FP32", 32, 540, 1000, 42.0, 0.0, 20, 100),
    row("a-int4", "Tool A, INT4", 4, 90, 600, 50.0, 0.2, 50, 80),
    row("b-int4", "Tool B, INT4", 4, 100, 650, 60.0, 0.4, 10, 40),
    failed("c-int4", "Tool C, INT4", 4),
]

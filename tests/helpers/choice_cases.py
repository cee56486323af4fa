"""Hand-made evidence and speeds for the tests of recommendations."""

from qlearn.measure import results
from qlearn.measure.choose.evidence import Evidence
from qlearn.measure.choose.levels import Speeds
from qlearn.measure.memory.devices import Device
from qlearn.measure.memory.sizes import Architecture

SEVEN = Architecture("seven-7b", 32, 4096, 11_008, 32, 32)  # 6.74 billion parameters, as Llama 2 7B
SMALL = Architecture("seven-1b", 16, 2048, 5_632, 32, 32)


def row(bits, loss, method="gptq", group_size=128, kind="text", parameters=7_000_000_000, **more):
    """Perplexity rose by a share, or so many of 100 right answers were lost."""
    rises = kind == "text"
    before, after = (10.0, 10.0 * (1 + loss)) if rises else (100.0, 100.0 * (1 - loss))
    given = {
        "model": "other-7b", "parameters": parameters, "kind": kind, "measure": f"{kind} score",
        "method": method, "bits": bits, "group_size": group_size, "before": before, "after": after,
        "rises": rises, "source": "a test",
    }  # fmt: skip
    return Evidence(**{**given, **more})


EVIDENCE = (
    row(8, 0.001, "rtn", None),
    row(4, 0.03, "gptq"),
    row(4, 0.02, "awq"),
    row(3, 0.15, "awq"),
    row(2, 3.0, "gptq"),
)
ALONE = Speeds({16: 10.0, 8: 20.0, 4: 40.0}, 1, "a test at 1 token")  # fewer bits are faster
CROWD = Speeds({16: 400.0, 8: 300.0, 4: 100.0}, 512, "a test at 512 tokens")  # they are slower


def device(gigabytes, kind="consumer GPU"):
    """A device with so much memory, of 1e9 bytes."""
    return Device(f"card-{gigabytes}", "A card", kind, round(gigabytes * 1e9), 500e9, "a test")


def measured(*names):
    """Whether these results files are there, and whole."""
    if not all(results.find(name) for name in names):
        return False
    return "choosing" not in names or "smollm2-135m" in results.load("choosing")["models"]

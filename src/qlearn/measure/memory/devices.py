"""The catalogue of devices: how much memory, and how fast it is read.

``devices.json`` holds each maker's own figures with their page; where a bandwidth is computed from
the kind of memory, or a source is weak, the entry's note says so. Memory is in bytes, counted as
makers of memory count it: a card of 12 GB holds 12 * 2**30 bytes. All of it: the desktop, the
system and the framework take their part, so an estimate asks for a share
(``largest_context(..., usable=0.9)``). Bandwidth is the peak, in bytes a second (GB/s = 1e9):
programs reach some 60 to 90% of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from qlearn.numerics.refuse import check_positive

CATALOGUE = Path(__file__).with_name("devices.json")
KINDS = ("consumer GPU", "data-center GPU", "Apple silicon", "computer", "phone", "cloud")


@dataclass(frozen=True)
class Device:
    """A device that a model may run on.

    Attributes:
        name: what the catalogue calls it.
        title: as its maker writes it.
        kind: one of :data:`KINDS`.
        memory: bytes; a GPU's own; what CPU and GPU share in Apple silicon and phones.
        bandwidth: peak, in bytes a second.
        source: the page that the figures come from.
        note: what was computed, and from what; which source is weak.
    """

    name: str
    title: str
    kind: str
    memory: int
    bandwidth: float
    source: str
    note: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r} is not known; choose {', '.join(KINDS)}")
        check_positive("bytes", memory=self.memory)
        check_positive("bytes a second", bandwidth=self.bandwidth)


def _catalogue() -> dict[str, Device]:
    entries = json.loads(CATALOGUE.read_text(encoding="utf-8"))
    return {
        name: Device(
            name=name,
            title=entry["title"],
            kind=entry["kind"],
            memory=round(entry["gib"] * 2**30),
            bandwidth=round(entry["gb_per_second"] * 1e9),
            source=entry["source"],
            note=entry.get("note", ""),
        )
        for name, entry in entries.items()
    }


DEVICES: Mapping[str, Device] = MappingProxyType(_catalogue())


def get_device(device: str | Device) -> Device:
    """Give a device of the catalogue by its name.

    Raises:
        ValueError: an unknown name.

    >>> get_device("rtx-3060").memory / 2**30
    12.0
    """
    if isinstance(device, Device):
        return device
    if not isinstance(device, str) or device not in DEVICES:
        near = get_close_matches(str(device).lower().replace(" ", "-"), DEVICES, n=3, cutoff=0.3)
        raise ValueError(
            f"device={device!r} is not in the catalogue; its nearest are "
            f"{', '.join(map(repr, near or list(DEVICES)[:3]))} "
            f"(all {len(DEVICES)}: list(qlearn.measure.memory.DEVICES)), or make a Device of "
            "your own"
        )
    return DEVICES[device]

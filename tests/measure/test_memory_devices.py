"""The catalogue of devices: complete, consistent with the memory each has, and honest about it."""

import re
from dataclasses import replace

import pytest

from qlearn.measure.memory.devices import DEVICES, KINDS, Device, get_device


def test_known_figures():
    """By hand, from the makers' data sheets."""
    assert get_device("rtx-3060").memory == 12 * 2**30 == 12_884_901_888
    assert get_device("rtx-3060").bandwidth == 360e9
    assert get_device("rtx-4090").bandwidth == 1008e9
    assert get_device("h100").bandwidth == 3.35e12
    assert get_device("t4").memory == 16 * 2**30
    assert get_device("m4-max-128").bandwidth == 546e9
    assert get_device("binder").memory == 2 * 2**30


# Bus width in bits x rate a pin in Gbit/s / 8: an independent way to the figures.
BUSES = {
    "rtx-3060": (192, 15),
    "rtx-3090": (384, 19.5),
    "rtx-4060-ti-16": (128, 18),
    "rtx-4070": (192, 21),
    "rtx-4080": (256, 22.4),
    "rtx-4090": (384, 21),
    "rtx-5080": (256, 30),
    "rtx-5090": (512, 28),
    "t4": (256, 10),
    "l4": (192, 12.5),
    "a10": (384, 12.5),
    "m1-8": (128, 4.266),
    "m1-pro-16": (256, 6.4),
    "m1-max-32": (512, 6.4),
    "m2-8": (128, 6.4),
    "m3-pro-36": (192, 6.4),
    "m4-16": (128, 7.5),
    "m4-pro-48": (256, 8.533),
    "m4-max-36": (384, 8.533),
    "m4-max-64": (512, 8.533),
    "laptop-ddr4-16": (128, 3.2),
    "laptop-ddr5-16": (128, 5.6),
    "laptop-lpddr5x-32": (128, 7.467),
    "raspberry-pi-5": (32, 4.267),
    "iphone-15-pro": (64, 6.4),
    "iphone-16": (64, 7.5),
    "pixel-8": (64, 8.533),
    "galaxy-s24": (64, 9.6),
}


@pytest.mark.parametrize("name", BUSES)
def test_bandwidth_is_width_times_rate(name):
    bits, rate = BUSES[name]
    # Makers round: Apple's 400 GB/s is 409.6.
    assert get_device(name).bandwidth == pytest.approx(bits * rate / 8 * 1e9, rel=0.025)


def test_every_entry_is_whole():
    assert {one.kind for one in DEVICES.values()} == set(KINDS)
    assert len({one.title for one in DEVICES.values()}) == len(DEVICES) >= 40
    for name, one in DEVICES.items():
        assert one.name == name
        assert re.fullmatch(r"[a-z0-9-]+", name)
        assert one.source.startswith("https://")
        assert 2**30 < one.memory < 200 * 2**30
        assert 5e9 < one.bandwidth < 5e12
        size = re.search(r"(\d+) GB", one.title)
        if size:  # the title, the memory and the end of the name tell the same
            assert one.memory == int(size[1]) * 2**30
        if size and one.kind == "Apple silicon":
            assert name.endswith(f"-{size[1]}")


def test_weak_figures_are_named():
    """Makers state no bandwidth of phones, nor Binder of its servers."""
    for one in DEVICES.values():
        assert ("weak" in one.note) == (one.kind in ("phone", "cloud")), one.name
        if "computed" in one.note and "weak" not in one.note:
            assert re.search(r"bit|channels", one.note), one.name


def test_the_catalogue_is_read_only():
    with pytest.raises(TypeError):
        DEVICES["mine"] = get_device("t4")
    mine = Device("mine", "Mine", "computer", 2**30, 1e9, "https://example.org")
    assert get_device(mine) is mine


@pytest.mark.parametrize("name", ["rtx3060", "RTX 4090 Ti", "", 7, None])
def test_unknown_devices(name):
    with pytest.raises(ValueError, match=r"not in the catalogue; its nearest are .*DEVICES") as one:
        get_device(name)
    assert f"device={name!r}" in str(one.value)
    if name == "rtx3060":
        assert "'rtx-3060'" in str(one.value)


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"kind": "toaster"}, "kind='toaster'.*consumer GPU"),
        ({"memory": 0}, "memory=0 must be a number of bytes above 0"),
        ({"memory": True}, "memory=True"),
        ({"bandwidth": "fast"}, "bandwidth='fast' must be a number of bytes a second"),
        ({"bandwidth": float("nan")}, "bandwidth=nan"),
    ],
)
def test_bad_devices(changed, part):
    with pytest.raises(ValueError, match=part):
        replace(get_device("t4"), **changed)

"""Values cross as plain data, or as the name of their type; damaged bytes are refused."""

import json
import math
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qlearn.classroom.sandbox.wire import DTYPES, MAGIC, Damaged, Reference, Unknown, pack, unpack
from qlearn.teach.checks.compare import Tolerance, compare

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(plain)
def test_plain_values_come_back_the_same(value):
    back = unpack(pack(value))
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("name", sorted(DTYPES))
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3)])
def test_tensors_come_back_bit_for_bit(name, shape):
    tensor = (torch.rand(shape) * 100).to(DTYPES[name])
    back = unpack(pack(tensor))
    assert back.dtype == tensor.dtype
    assert back.shape == tensor.shape
    same = back.reshape(-1).view(torch.uint8) == tensor.reshape(-1).view(torch.uint8)
    assert bool(same.all()) or not tensor.numel()


def test_views_gradients_arrays_and_references():
    view = torch.arange(12.0).reshape(3, 4).t()[1:]
    assert torch.equal(unpack(pack(view)), view)
    assert unpack(pack(torch.ones(2, requires_grad=True))).requires_grad
    assert not unpack(pack(2 * torch.ones(2, requires_grad=True))).requires_grad
    assert torch.equal(unpack(pack(torch.nn.Parameter(torch.ones(2)))), torch.ones(2))
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    assert np.array_equal(unpack(pack(array)), array)
    assert type(unpack(pack(Reference("pocket-100k")))) is Reference
    assert math.isnan(unpack(pack(math.nan)))


class Everything:
    """Equal to everything, and a tensor by its own account."""

    __class__ = torch.Tensor

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0

    def __reduce__(self):
        return (exec, ("raise SystemExit",))


def test_what_pretends_to_be_equal_arrives_as_a_name():
    back = unpack(pack([Everything(), torch.ones(2).to_sparse(), torch.ones(2, device="meta")]))
    assert all(isinstance(one, Unknown) for one in back)
    assert type(back[0]).__name__ == "Everything"
    assert compare(back[0], torch.ones(2), Tolerance()) is not None
    assert back[0] != 1


class Sly(int):
    """A number whose comparisons agree."""

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0


def test_subclasses_of_plain_types_are_not_plain():
    assert isinstance(unpack(pack(Sly(3))), Unknown)


def _frame(tree, rest=b""):
    head = json.dumps(tree).encode()
    return MAGIC + struct.pack("<I", len(head)) + head + rest


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x" * 100,
        MAGIC + struct.pack("<I", 10**9) + b"{}",
        _frame({"T": ["float32", [2], False]}, b"\0" * 7),
        _frame({"T": ["float32", [-1], False]}, b""),
        _frame({"T": ["float32", [10**15, 10**15], False]}),
        _frame({"T": ["object", [1], False]}, b"\0" * 8),
        _frame({"T": ["float32", [True], False]}, b"\0" * 4),
        _frame({"a": ["object", [1]]}, b"\0" * 8),
        _frame({"v": [1]}),
        _frame({"v": 1, "l": []}),
        _frame({"x": 1}),
        _frame([1]),
        _frame({"v": 1}, b"more"),
        _frame({"T": ["int64", [1], True]}, b"\0" * 8),
        MAGIC + struct.pack("<I", 400_000) + b"[" * 400_000,
    ],
    ids=range(16),
)
def test_damaged_bytes_are_refused(data):
    with pytest.raises(Damaged):
        unpack(data)


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_be_refused(rest):
    for data in (rest, MAGIC + rest):
        try:
            unpack(data)
        except Damaged:
            continue


def test_what_is_too_large_or_too_deep_is_not_sent():
    with pytest.raises(ValueError, match="too large"):
        pack(torch.zeros(1).expand(10**12), most=1e6)
    nested: list = []
    nested.append(nested)
    with pytest.raises(ValueError, match="levels"):
        pack(nested)

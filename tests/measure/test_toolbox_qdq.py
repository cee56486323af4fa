"""A Q/DQ model that is not what TensorRT takes, or not the layer's, is refused."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch


@pytest.fixture
def qdq(bench):
    return bench("_toolbox_qdq")


@pytest.fixture
def layer(qdq):
    """A layer of torch, and its product on grids fitted by hand."""
    linear = torch.nn.Linear(6, 4, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)))
    weight = linear.weight.detach().numpy()
    scales = np.abs(weight).max(1) / 127
    codes = np.rint(weight / scales[:, None]).astype(np.int8).T
    return linear, qdq.Product("node", codes, scales.astype(np.float32), 0.05)


def test_a_product_is_matched_to_its_layer_alone(qdq, layer):
    linear, product = layer
    weight = linear.weight.detach().numpy()
    assert qdq.matched([product], {"own": weight}) == {"own": product}
    with pytest.raises(ValueError, match="holds no layer's weight"):
        qdq.matched([product], {"other": weight[::-1]})
    off = product.codes.copy()
    off[2, 1] += 3
    with pytest.raises(ValueError, match="holds no layer's weight"):
        qdq.matched([dataclasses.replace(product, codes=off)], {"own": weight})
    with pytest.raises(ValueError, match="'second' has no product"):
        qdq.matched([product], {"own": weight, "second": weight})


def test_both_sides_are_rounded_on_the_grids(qdq, layer):
    linear, product = layer
    model = torch.nn.Sequential(linear)
    x = torch.tensor([[0.02, 0.03, -1.0, 0.0, 100.0, -100.0]])
    rounded = np.clip(np.rint(x.numpy() / 0.05), -128, 127) * np.float32(0.05)
    should = rounded @ (product.codes * product.weight_scales)
    qdq.round_on_grids(model, {"0": product})
    np.testing.assert_allclose(model(x).detach().numpy(), should, rtol=1e-5)


def graph(zero_point=0, inputs_too=True):
    """One product by hand, with onnx's own helpers."""
    helper, array = onnx.helper, onnx.numpy_helper.from_array
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wq"], axis=1),
        helper.make_node("MatMul", ["xq" if inputs_too else "x", "wq"], ["y"], name="product"),
    ]
    constants = [
        array(np.float32(0.1), "s"),
        array(np.int8(zero_point), "z"),
        array(np.ones((3, 2), np.int8), "w"),
        array(np.ones(2, np.float32), "ws"),
        array(np.zeros(2, np.int8), "wz"),
    ]
    return SimpleNamespace(graph=helper.make_graph(nodes, "g", [], [], constants))


def test_symmetric_qdq_on_both_sides_or_none(qdq):
    (found,) = qdq.products(graph())
    assert found.codes.shape == (3, 2) and found.input_scale == pytest.approx(0.1)
    with pytest.raises(ValueError, match="inputs that are not symmetric INT8"):
        qdq.products(graph(zero_point=3))
    with pytest.raises(ValueError, match="inputs without Q/DQ"):
        qdq.products(graph(inputs_too=False))

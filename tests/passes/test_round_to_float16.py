"""A graph rounded to float16 gives what numpy's float16 gives, operation by operation."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgekit.passes.infer_shapes import infer_shapes
from edgekit.passes.round_to_float16 import round_number, round_to_float16
from tests.models import run_onnx
from tests.qdq.qdq_nets import f32, net, node, normal

HALF = np.float16
X = normal(1, 3, 4, 5, seed=4, reach=30.0)


def rounded(model: onnx.ModelProto) -> ir.Model:
    source = ir.from_proto(model)
    infer_shapes(source)
    before = ir.to_proto(source).SerializeToString(deterministic=True)
    made = round_to_float16(source)
    assert ir.to_proto(source).SerializeToString(deterministic=True) == before
    onnx.checker.check_model(ir.to_proto(made), full_check=True)
    return made


def test_each_result_of_a_chain_is_rounded() -> None:
    numbers = {"a": f32(0.3337), "b": f32(11.07), "c": f32(1.7003)}
    nodes = [
        node("Mul", ["x", "a"], ["p"]),
        node("Add", ["p", "b"], ["q"]),
        node("Relu", ["q"], ["r"]),
        node("Mul", ["r", "c"], ["y"]),
    ]
    model = net(nodes, {"x": X.shape}, ["q", "y"], numbers)
    a, b, c = (HALF(numbers[name]) for name in "abc")
    wanted = X.astype(HALF) * a + b
    found = run_onnx(rounded(model), {"x": X})
    np.testing.assert_array_equal(found["q"], wanted.astype(np.float32))
    np.testing.assert_array_equal(found["y"], (np.maximum(wanted, HALF(0)) * c).astype(np.float32))
    assert not np.array_equal(found["y"], run_onnx(model, {"x": X})["y"])


def test_a_convolution_adds_up_in_float32_and_is_rounded_once() -> None:
    numbers = {"w": normal(2, 3, 1, 1), "b": normal(2, seed=1, reach=9.0)}
    model = net([node("Conv", ["x", "w", "b"], ["y"])], {"x": X.shape}, ["y"], numbers)
    x, w, b = (array.astype(HALF).astype(np.float64) for array in (X, numbers["w"][:, :, 0, 0], numbers["b"]))
    wanted = np.einsum("oc,nchw->nohw", w, x) + b[:, None, None]
    found = run_onnx(rounded(model), {"x": X})["y"]
    np.testing.assert_array_equal(found, wanted.astype(HALF).astype(np.float32))


def test_a_quantizer_rounds_its_quotient_and_keeps_its_scale() -> None:
    scale, x = f32(0.0123), normal(400, seed=2, reach=1.5)
    numbers = {"s": scale, "z": np.array(3, np.int8)}
    nodes = [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    model = net(nodes, {"x": x.shape}, ["y"], numbers)
    quotient = (x.astype(HALF).astype(np.float32) / scale).astype(HALF).astype(np.float32)
    codes = np.clip(np.rint(quotient) + 3, -128, 127)
    wanted = ((codes - 3).astype(np.float32) * scale).astype(HALF).astype(np.float32)
    np.testing.assert_array_equal(run_onnx(rounded(model), {"x": x})["y"], wanted)


def test_integer_weights_are_restored_with_their_own_scale_and_then_rounded() -> None:
    weight, scale = np.arange(-6, 6, dtype=np.int8).reshape(4, 3, 1, 1), f32(0.0123)
    numbers = {"w": weight, "s": scale, "z": np.array(0, np.int8)}
    nodes = [node("DequantizeLinear", ["w", "s", "z"], ["v"]), node("Conv", ["x", "v"], ["y"])]
    model = net(nodes, {"x": X.shape}, ["y"], numbers)
    restored = (weight * scale).astype(HALF).astype(np.float64)[:, :, 0, 0]
    wanted = np.einsum("oc,nchw->nohw", restored, X.astype(HALF).astype(np.float64))
    found = run_onnx(rounded(model), {"x": X})["y"]
    np.testing.assert_array_equal(found, wanted.astype(HALF).astype(np.float32))


def test_constants_that_float16_lacks() -> None:
    tiny, huge = f32([1e-12, -1e-12, 0, 1]), f32([7e4, 0.1])
    np.testing.assert_array_equal(round_number(tiny), f32([2**-24, -(2**-24), 0, 1]))
    assert round_number(huge) is huge  # read by a node that a float16 program computes in float32
    np.testing.assert_array_equal(round_number(f32([-3.4e38, 65504])), f32([-np.inf, 65504]))


def test_a_logarithm_of_a_power_keeps_its_floor() -> None:
    nodes = [node("Mul", ["x", "x"], ["p"]), node("Add", ["p", "e"], ["s"]), node("Log", ["s"], ["y"])]
    x = f32([0.0, 1e-4, 2.0])
    model = net(nodes, {"x": x.shape}, ["y"], {"e": f32(1e-10)})
    found = run_onnx(rounded(model), {"x": x})["y"]
    np.testing.assert_allclose(found, np.log(x.astype(np.float64) ** 2 + 1e-10), rtol=2e-3)


@pytest.mark.parametrize("value", [True, False])
def test_a_model_with_branches_stays_as_it_is(value: bool) -> None:
    def branch(factor: str) -> onnx.GraphProto:
        made = helper.make_tensor_value_info(factor, TensorProto.FLOAT, [2])
        return helper.make_graph([node("Mul", ["x", "k"], [factor])], factor, [], [made])

    choice = node("If", ["c"], ["y"], "if", then_branch=branch("one"), else_branch=branch("two"))
    model = net([choice], {"x": (2,)}, ["y"], {"c": np.array(value), "k": f32(3.001)})
    x = f32([1.0001, 2.0003])
    np.testing.assert_array_equal(run_onnx(rounded(model), {"x": x})["y"], run_onnx(model, {"x": x})["y"])


def test_what_leaves_the_range_between_two_nodes_stays() -> None:
    nodes = [node("Mul", ["x", "x"], ["p"]), node("Mul", ["p", "s"], ["y"]), node("Add", ["x", "m"], ["z"])]
    x = f32([300.0, -700.5, 2.0])
    model = net(nodes, {"x": x.shape}, ["y", "z"], {"s": f32(0.001), "m": f32(-np.inf)})
    found = run_onnx(rounded(model), {"x": x})
    np.testing.assert_allclose(found["y"], x * x * 0.001, rtol=2e-3)
    np.testing.assert_array_equal(found["z"], f32([-np.inf] * 3))


def test_results_that_nobody_asked_for_stay_so() -> None:
    weights = {"w": normal(1, 8, 3), "r": normal(1, 8, 2, seed=1)}
    nodes = [node("LSTM", ["x", "w", "r"], ["", "h", ""], "lstm", hidden_size=2)]
    model, x = net(nodes, {"x": (4, 1, 3)}, ["h"], weights), normal(4, 1, 3, seed=3)
    found, plain = (run_onnx(one, {"x": x})["h"] for one in (rounded(model), model))
    np.testing.assert_allclose(found, plain, atol=2e-3)
    np.testing.assert_array_equal(found, found.astype(HALF).astype(np.float32))

"""Graphs of 16 bits on the HTP: pointwise chains and products of two computed tensors keep them there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit._qdq import QdqForm, Steering, Widening, insert_qdq
from edgekit._schemes import NATIVE_U8_S8, NATIVE_U16_S8
from edgekit.passes.fuse_hardswish import fuse_hardswish, fuse_unscaled_hardswish
from edgekit.targets.qnn.chips import load_chips
from edgekit.targets.qnn.prepare_htp import prepare_htp
from edgekit.targets.qnn.quantize_chains import quantize_chains
from tests.models import run_onnx
from tests.qdq.qdq_nets import all_tensors, record_of, sqnr
from tests.targets.qnn_models import TARGET, as_component, build, job, quantized

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgekit._values import Component

RNG = np.random.default_rng(11)
Row = tuple[str, str, str]
FEEDS = {"x": (RNG.standard_normal((1, 4, 24, 16)) * 6).clip(-19, 19).astype(np.float32)}
CONSTANTS = {
    "w": RNG.standard_normal((4, 4, 1, 1)) / 2, "k": [[[0.2]], [[1.0]], [[3.0]], [[0.6]]],
    "c": [[[-4.0]]] * 4, "three": 3, "zero": 0, "six": 6, "third": -1 / 3,
}  # fmt: skip
HARD_SWISH = [("Mul", "a k", "b"), ("Add", "b three", "s"), ("Clip", "s zero six", "g"), ("Mul", "b g", "h")]
OTHERS = [
    ("Mul", "a k", "b"), ("Sub", "c b", "s"), ("Tanh", "s", "t"), ("Sigmoid", "b", "g"), ("Mul", "b g", "u"),
    ("HardSigmoid", "u", "v"), ("Sub", "v t", "m"), ("Mul", "m third", "h"),
]  # fmt: skip


def net(rows: Sequence[Row]) -> onnx.ModelProto:
    """Conv x -> a, the rows from a to h, Conv h -> y."""
    rows = [("Conv", "x w", "a"), *rows, ("Conv", "h w", "y")]
    return as_model(rows, FEEDS, CONSTANTS, "y")


def as_model(
    rows: Sequence[Row], feeds: Mapping[str, np.ndarray], constants: Mapping[str, object], output: str
) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node(op, inputs.split(), [out], out) for op, inputs, out in rows],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, item.shape) for name, item in feeds.items()],
        [helper.make_empty_tensor_value_info(output)],
        [numpy_helper.from_array(np.asarray(item, np.float32), name) for name, item in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def on_htp(component: Component, feeds: Mapping[str, np.ndarray], folder: Path) -> np.ndarray:
    return TARGET.open(build(component, folder, job()), folder).run(feeds)["y"]


@pytest.mark.parametrize("rows", [HARD_SWISH, OTHERS], ids=["hard swish", "others"])
def test_a_chain_between_16_bit_tensors_keeps_them_on_the_htp(rows: list[Row], tmp_path: Path) -> None:
    """In the HTP's float16 the hard swish lay at 69 dB."""
    component = quantized(net(rows), NATIVE_U16_S8, FEEDS)
    assert sqnr(run_onnx(component.model, FEEDS)["y"], on_htp(component, FEEDS, tmp_path)) > 74


def test_a_chain_runs_on_an_htp_without_float16_too(tmp_path: Path) -> None:
    build(quantized(net(OTHERS), NATIVE_U16_S8, FEEDS), tmp_path, job("int8", "qcs6490"))
    told = json.loads((tmp_path / "model.int8.partition.json").read_text())["chips"][0]
    assert (told["htp_arch"], told["contexts"], told["on_cpu"]) == (68, 1, [])


@pytest.mark.parametrize("op", ["Sigmoid", "HardSigmoid", "Tanh"])
def test_a_gate_that_is_an_output_is_right_on_the_htp_whatever_its_range(op: str, tmp_path: Path) -> None:
    """Of 16 bits it knows [0, 1] or [-1, 1] only: below 10 dB on another grid."""
    feeds = {"x": FEEDS["x"] / 40}
    artifact = build(quantized(net([(op, "a", "h")]), NATIVE_U16_S8, feeds), tmp_path, job())
    got = TARGET.open(artifact, tmp_path).run(feeds, ["h"])["h"]
    assert sqnr(all_tensors(net([(op, "a", "h")]), feeds)["h"], got) > 40


@pytest.mark.parametrize(("rows", "count"), [(HARD_SWISH, 2), (OTHERS, 5)], ids=["hard swish", "others"])
def test_no_range_inside_a_chain_cuts_a_number(rows: list[Row], count: int) -> None:
    """Judged by ONNX Runtime, over every code that the chain can begin with."""
    component = quantized(net(rows), NATIVE_U16_S8, FEEDS)
    model = component.model.clone()
    fuse_unscaled_hardswish(model)
    assert quantize_chains(model) == count
    wide = {"x": FEEDS["x"] * 40}
    assert sqnr(run_onnx(component.model, wide)["y"], run_onnx(model, wide)["y"]) > 74


@pytest.mark.parametrize("rows", [HARD_SWISH, OTHERS], ids=["hard swish", "others"])
def test_a_chain_between_8_bit_tensors_has_16_bits_inside_and_rounds_as_its_qdq_graph(
    rows: list[Row], tmp_path: Path
) -> None:
    component = quantized(net(rows), NATIVE_U8_S8, FEEDS)
    prepared, _ = prepare_htp(component.model, [load_chips()["SM8650"]])
    want = run_onnx(component.model, FEEDS)["y"]
    # A code that falls the other way at h is one of 255; the rest is equal.
    assert sqnr(want, run_onnx(prepared, FEEDS)["y"]) > 45
    assert sqnr(want, on_htp(component, FEEDS, tmp_path)) > 40
    told = json.loads((tmp_path / "model.int8.partition.json").read_text())["chips"][0]
    assert (told["contexts"], told["on_cpu"]) == (1, [])


def test_an_8_bit_chain_runs_on_an_htp_without_float16_too(tmp_path: Path) -> None:
    build(quantized(net(OTHERS), NATIVE_U8_S8, FEEDS), tmp_path, job("int8", "qcs6490"))
    told = json.loads((tmp_path / "model.int8.partition.json").read_text())["chips"][0]
    assert (told["htp_arch"], told["contexts"], told["on_cpu"]) == (68, 1, [])


def test_a_mean_over_a_plane_that_a_softmax_reads_is_of_integers(tmp_path: Path) -> None:
    """As SqueezeNet ends. In the HTP's float16 it lay at 70 dB, and here at 85."""
    rows = [("Conv", "x w", "a"), ("Relu", "a", "r"), ("GlobalAveragePool", "r", "p"), ("Softmax", "p", "y")]
    component = quantized(as_model(rows, FEEDS, {"w": CONSTANTS["w"]}, "y"), NATIVE_U8_S8, FEEDS)
    got = TARGET.open(build(component, tmp_path, job()), tmp_path).run(FEEDS, ["a", "p"])
    want = np.maximum(got["a"].astype(np.float64), 0).mean((2, 3), keepdims=True)
    assert sqnr(want, got["p"]) > 80


def test_what_the_htp_computes_on_8_bits_stays_so() -> None:
    rows = [("Conv", "x w", "b"), ("Add", "a b", "h")]
    residual = quantized(net(rows), NATIVE_U8_S8, FEEDS).model.clone()
    assert quantize_chains(residual) == 0
    gate = [("Relu", "a", "r"), ("GlobalAveragePool", "r", "p"), ("Conv", "p w", "g"), ("Mul", "a g", "h")]
    assert quantize_chains(quantized(net(gate), NATIVE_U8_S8, FEEDS).model.clone()) == 0


def test_a_chain_that_an_unlisted_op_reads_stays_as_it_is() -> None:
    rows = [("Mul", "a k", "b"), ("Sigmoid", "b", "g"), ("Exp", "g", "e"), ("Mul", "e third", "h")]
    assert quantize_chains(quantized(net(rows), NATIVE_U16_S8, FEEDS).model.clone()) == 0


def test_a_hard_swish_whose_sixth_is_elsewhere_is_six_times_the_operator() -> None:
    model = ir.from_proto(net(HARD_SWISH))
    assert (fuse_hardswish(model), fuse_unscaled_hardswish(model)) == (0, 1)
    kinds = [node.op_type for node in model.graph]
    assert kinds == ["Conv", "Mul", "HardSwish", "Mul", "Conv"]
    want = run_onnx(net(HARD_SWISH), FEEDS)["y"]
    np.testing.assert_allclose(run_onnx(model, FEEDS)["y"], want, rtol=1e-5, atol=1e-5)


def attention() -> tuple[Component, dict[str, np.ndarray]]:
    """softmax(q k) v, each a float input, quantized to 16 bits."""
    shapes = {"q": (1, 4, 20, 16), "k": (1, 4, 16, 20), "v": (1, 4, 20, 16)}
    feeds = {name: (RNG.standard_normal(shape) + 0.2).astype(np.float32) for name, shape in shapes.items()}
    rows = [("MatMul", "q k", "s"), ("Softmax", "s", "p"), ("MatMul", "p v", "y")]
    return quantized(as_model(rows, feeds, {}, "y"), NATIVE_U16_S8, feeds), feeds


def test_a_product_of_two_16_bit_tensors_keeps_them_on_the_htp(tmp_path: Path) -> None:
    """With uint16 on the right, the HTP computes it on 8 bits: 40 dB."""
    component, feeds = attention()
    assert sqnr(run_onnx(component.model, feeds)["y"], on_htp(component, feeds, tmp_path)) > 60


def test_a_chip_without_int16_products_is_given_none() -> None:
    component, feeds = attention()
    chips = load_chips()
    for names, wanted in ((("SM8650", "SM8750"), 2), (("SM8650", "QCS6490"), 0)):
        model, _ = prepare_htp(component.model, [chips[name] for name in names])
        grids = [node.inputs[2].const_value for node in model.graph if node.op_type == "QuantizeLinear"]  # type: ignore[union-attr]  # initializers
        assert [item.dtype for item in grids if item].count(ir.DataType.INT16) == wanted
        assert sqnr(run_onnx(component.model, feeds)["y"], run_onnx(model, feeds)["y"]) > 74


@pytest.mark.parametrize("wide", [{"d"}, {"d", "e"}, {"a"}])
def test_a_graph_of_both_widths_runs_whole_on_the_htp(wide: set[str], tmp_path: Path) -> None:
    chain = [("x", "a"), ("a", "d"), ("r", "e"), ("e", "y")]
    rows = [("Conv", f"{data} w", made) for data, made in chain]
    rows.insert(2, ("Relu", "d", "r"))
    model = as_model(rows, FEEDS, CONSTANTS, "y")
    record = record_of(all_tensors(model, FEEDS))
    form = QdqForm(NATIVE_U8_S8, "int32", gemm_output="all")
    steering = Steering(wide=Widening(NATIVE_U16_S8, frozenset(wide)))
    component = insert_qdq(as_component(model), record, form=form, steering=steering).component
    artifact = build(component, tmp_path, job())
    assert artifact.macs is not None
    assert artifact.macs.int16 == len(wide) * artifact.macs.total // 4
    assert artifact.macs.int8 == artifact.macs.total - artifact.macs.int16
    told = json.loads((tmp_path / "model.int8.partition.json").read_text())["chips"][0]
    assert told["contexts"] == 1
    assert {item["op"] for item in told["on_cpu"]} <= {"QuantizeLinear", "DequantizeLinear"}  # of the borders
    truth, own = (run_onnx(item, FEEDS)["y"] for item in (model, component.model))
    got = TARGET.open(artifact, tmp_path).run(FEEDS)["y"]
    assert sqnr(truth, got) > sqnr(truth, own) - 1

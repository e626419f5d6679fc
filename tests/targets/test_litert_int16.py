"""16-bit activations in LiteRT: nets of both widths against their Q/DQ graph and fp32, on its CPU kernels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from edgekit._qdq import QdqForm, Steering, Widening, insert_qdq
from edgekit._schemes import INT16X8, PORTABLE
from edgekit.passes.serialize_model import serialize_model
from edgekit.targets.litert.artifact_macs import read_file
from edgekit.targets.litert.session import LiteRTSession
from tests.converted import sqnr_db
from tests.models import run_onnx
from tests.qdq.qdq_nets import all_tensors, node, normal, record_of
from tests.targets.litert_models import TARGET, build, job, model_of, prepared
from tests.targets.test_litert_int8_nets import Int8Net

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._qdq import QdqResult
    from edgekit._values import Component
    from edgekit.targets.litert.session import Kernels

KERNELS: tuple[Kernels, ...] = ("xnnpack", "builtin", "reference")
FORM = QdqForm(PORTABLE, "int32", gemm_output="int8")
Feeds = dict[str, np.ndarray]


def quantized(component: Component, feeds: Feeds, wide: frozenset[str]) -> QdqResult:
    plain = onnx.load_from_string(serialize_model(component.model))
    record = record_of(all_tensors(plain, feeds))
    return insert_qdq(component, record, form=FORM, steering=Steering(wide=Widening(INT16X8, wide)))


@pytest.mark.parametrize("seed", range(10))
def test_a_net_of_both_widths_loses_nothing_on_its_way_into_litert(seed: int, tmp_path: Path) -> None:
    model = Int8Net(seed).model
    feeds = [{"x": normal(1, 3, 12, 12, seed=10 * seed + index)} for index in range(4)]
    component = prepared(model)
    names = sorted(str(item.name) for item in component.model.graph)
    share = (0.3, 0.6, 1.0)[seed % 3]
    rng = np.random.default_rng(seed)
    wide = frozenset(name for name in names if rng.random() < share)
    result = quantized(component, feeds[0], wide)
    assert any(one.precision == "int16x8" for one in result.decisions)
    artifact = build(result.component, tmp_path, "int8")
    truth, own = ([run_onnx(net, feed) for feed in feeds] for net in (model, result.component.model))
    for kernel in KERNELS:
        session = LiteRTSession(tmp_path / artifact.main, kernel)
        made = [{name: value.copy() for name, value in session.run(feed).items()} for feed in feeds]
        assert _joined_sqnr(made, truth) > _joined_sqnr(own, truth) - 1, kernel


def _joined_sqnr(got: list[Feeds], want: list[Feeds]) -> float:
    joined = [{name: np.concatenate([run[name] for run in runs]) for name in want[0]} for runs in (got, want)]
    return sqnr_db(*joined)


WEIGHTS = {
    "conv": normal(6, 3, 3, 3, seed=1),
    "deep": normal(6, 1, 3, 3, seed=2),
    "back": normal(6, 4, 2, 2, seed=3),
    "bias": normal(6, seed=4, reach=3),
    "four": normal(4, seed=5),
    "matrix": normal(12, 5, seed=6),
    "columns": normal(5, seed=7),
    "flat": np.array([1, -1]),
    "starts": np.array([1]),
    "ends": np.array([7]),
    "rows": np.array([2]),
    "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    "square": np.array([1, 6, 12, 5]),
}
# What stands between two 16-bit products, behind a convolution's [1, 6, 12, 12].
OPS = {
    "Conv": [node("Conv", ["c", "deep", "bias"], ["o"], group=6, pads=[1, 1, 1, 1])],
    "ConvTranspose": [node("ConvTranspose", ["c", "back", "four"], ["o"], strides=[2, 2])],
    "MatMul": [node("MatMul", ["c", "matrix"], ["p"]), node("Add", ["p", "columns"], ["o"])],
    "products": [node("Transpose", ["c"], ["t"], perm=[0, 1, 3, 2]), node("MatMul", ["c", "t"], ["o"])],
    "Gemm": [
        node("Flatten", ["c"], ["f"], axis=3),
        node("Gemm", ["f", "matrix", "columns"], ["g"]),
        node("Reshape", ["g", "square"], ["o"]),
    ],
    "Add": [node("GlobalAveragePool", ["c"], ["g"]), node("Add", ["c", "g"], ["o"])],
    "Sub": [node("GlobalAveragePool", ["c"], ["g"]), node("Sub", ["c", "g"], ["o"])],
    "Mul": [node("GlobalAveragePool", ["c"], ["g"]), node("Mul", ["c", "g"], ["o"])],
    "Concat": [node("Relu", ["c"], ["r"]), node("Concat", ["c", "r"], ["o"], axis=1)],
    "MaxPool": [node("MaxPool", ["c"], ["o"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])],
    "AveragePool": [node("AveragePool", ["c"], ["o"], kernel_shape=[2, 2], strides=[2, 2])],
    "Slice": [node("Slice", ["c", "starts", "ends", "rows"], ["o"])],
    "Gather": [node("Gather", ["c", "rows"], ["o"], axis=2)],
    "Pad": [node("Pad", ["c", "pads"], ["o"])],
    "Sigmoid": [node("Sigmoid", ["c"], ["o"])],
    "SiLU": [node("Sigmoid", ["c"], ["s"]), node("Mul", ["c", "s"], ["o"])],
    "Tanh": [node("Tanh", ["c"], ["o"])],
    "LeakyRelu": [node("LeakyRelu", ["c"], ["o"], alpha=0.1)],
    "Gelu": [node("Gelu", ["c"], ["o"])],
    "Resize": [node("Resize", ["c", "", "by"], ["o"], mode="linear")],
    "HardSwish": [node("HardSwish", ["c"], ["o"])],
}
IN_FLOAT = {"Resize", "HardSwish"}  # between a DEQUANTIZE and a QUANTIZE
OF_ONE_SCALE = {"Sigmoid", "SiLU", "Tanh"}


@pytest.mark.parametrize("op", OPS)
def test_each_op_on_16_bits_is_what_its_qdq_graph_says(op: str, tmp_path: Path) -> None:
    head = node("Conv", ["x", "conv", "bias"], ["c"], pads=[1, 1, 1, 1])
    tail = node("Conv", ["o", "last"], ["y"])
    nodes = [head, *OPS[op], tail]
    channels = {"Concat": 12, "ConvTranspose": 4}.get(op, 6)
    weights = {**WEIGHTS, "last": normal(3, channels, 1, 1), "by": np.array([1, 1, 2, 2], np.float32)}
    used = {name: array for name, array in weights.items() if any(name in item.input for item in nodes)}
    model = model_of(nodes, {"x": [1, 3, 12, 12]}, used, opset=20)
    feeds = {"x": normal(1, 3, 12, 12, seed=3)}
    component = prepared(model)
    names = frozenset(str(item.name) for item in component.model.graph)
    result = quantized(component, feeds, names)
    artifact = build(result.component, tmp_path, "int8")
    assert artifact.macs is not None
    assert artifact.macs.int8 == 0
    assert artifact.macs.int16 == artifact.macs.total
    told = any(" int16 " in note and "LiteRT's own scale 1/32768" in note for note in artifact.notes)
    assert told == (op in OF_ONE_SCALE)
    want = run_onnx(result.component.model, feeds)["y"]
    step = float(np.abs(want).max()) / 32767
    for kernel in KERNELS:
        got = LiteRTSession(tmp_path / artifact.main, kernel).run(feeds)["y"]
        assert np.abs(got - want).max() <= 5 * step, kernel
    assert _is_float(tmp_path / artifact.main) == (op in IN_FLOAT)


@pytest.mark.parametrize(("wide", "told"), [((), True), (("c",), False)])
def test_an_option_that_gave_nothing_is_told(wide: tuple[str, ...], told: bool, tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "conv", "bias"], ["c"], "c"), node("Conv", ["c", "last"], ["y"], "y")]
    weights = {"conv": WEIGHTS["conv"], "bias": WEIGHTS["bias"], "last": normal(3, 6, 1, 1)}
    component = prepared(model_of(nodes, {"x": [1, 3, 12, 12]}, weights))
    result = quantized(component, {"x": normal(1, 3, 12, 12)}, frozenset(wide))
    given = replace(job("int8"), options={"activations": "int16x8"})
    (artifact,) = TARGET.build([result.component], given, tmp_path)
    assert any(note.startswith("no operator has 16-bit activations") for note in artifact.notes) is told
    plain = build(result.component, tmp_path, "int8")
    assert not any(note.startswith("no operator has 16-bit activations") for note in plain.notes)


def _is_float(path: Path) -> bool:
    """Whether anything between the file's borders is a float tensor."""
    schema, model = read_file(path.read_bytes())
    (graph,) = model.subgraphs
    borders = {int(index) for index in (*graph.inputs, *graph.outputs)}
    made = {int(item.outputs[0]) for item in graph.operators} - borders
    return any(graph.tensors[index].type == schema.TensorType.FLOAT32 for index in made)

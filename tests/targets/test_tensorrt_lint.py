"""What the tensorrt target refuses: each rule on a small graph, held against the RTX parser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit._values import Component, DimRange
from edgekit.errors import TargetError, UsageError
from edgekit.profiles.loader import device_files, load_device
from edgekit.target import Job
from edgekit.targets.tensorrt import TensorRT
from edgekit.targets.tensorrt.op_table import table_for
from edgekit.targets.tensorrt.rtx_parser import parse_with_rtx
from edgekit.targets.tensorrt.rules import rules_by_op

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._values import Gap

F32 = TensorProto.FLOAT
ZERO8: np.ndarray = np.array(0, np.int8)
ZERO16: np.ndarray = np.array(0, np.int16)
WEIGHT = np.ones((4, 3, 3, 3), np.float32)


def model(
    nodes: Sequence[onnx.NodeProto],
    *,
    weights: dict[str, np.ndarray] | None = None,
    x: tuple[int, Sequence[int | str]] = (F32, (1, 3, 8, 8)),
    y: int = F32,
    opsets: dict[str, int] | None = None,
) -> onnx.ModelProto:
    """A graph x -> y of the given nodes."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", *x)],
        [helper.make_tensor_value_info("y", y, None)],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in (opsets or {"": 18}).items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def node(
    op: str, inputs: Sequence[str], outputs: Sequence[str] = ("y",), **attributes: Any
) -> onnx.NodeProto:
    return helper.make_node(op, inputs, outputs, name=f"the_{op}", **attributes)


def qdq(zero_point: np.ndarray | None, scale: float = 0.1, op: str = "DequantizeLinear") -> onnx.ModelProto:
    """x -> Q -> DQ -> y with one scale and zero-point."""
    weights: dict[str, np.ndarray] = {"s": np.array(scale, np.float32)}
    extra = []
    if zero_point is not None:
        weights["z"] = zero_point
        extra = ["z"]
    nodes = [node("QuantizeLinear", ["x", "s", *extra], ["q"]), node(op, ["q", "s", *extra])]
    return model(nodes, weights=weights)


def conv_with_dq(bias: np.ndarray | None, axis: int = 0) -> onnx.ModelProto:
    """x -> Q -> DQ -> Conv with a per-channel int8 weight, and a bias that may come through int32 DQ."""
    weights: dict[str, np.ndarray] = {
        "s": np.array(0.1, np.float32),
        "z": np.array(0, np.int8),
        "wq": WEIGHT.astype(np.int8),
        "ws": np.full(WEIGHT.shape[axis], 0.02, np.float32),
        "wz": np.zeros(WEIGHT.shape[axis], np.int8),
    }
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["w"], "the_weight", axis=axis),
    ]
    inputs = ["d", "w"]
    if bias is not None and bias.dtype == np.int32:
        weights |= {"bq": bias, "bs": np.full(4, 0.002, np.float32), "bz": np.zeros(4, np.int32)}
        nodes.append(helper.make_node("DequantizeLinear", ["bq", "bs", "bz"], ["b"], "the_bias", axis=0))
        inputs.append("b")
    elif bias is not None:
        weights["b"] = bias
        inputs.append("b")
    return model([*nodes, node("Conv", inputs)], weights=weights)


def resize(**attributes: Any) -> onnx.ModelProto:
    weights = {"scales": np.array([1, 1, 2, 2], np.float32)}
    return model([node("Resize", ["x", "", "scales"], **attributes)], weights=weights)


def scatter(reduction: str) -> onnx.ModelProto:
    weights: dict[str, np.ndarray] = {"i": np.array([[0]], np.int64), "u": np.ones((1, 3, 8, 8), np.float32)}
    return model([node("ScatterND", ["x", "i", "u"], reduction=reduction)], weights=weights)


def qlinear_conv() -> onnx.ModelProto:
    weights: dict[str, np.ndarray] = {
        "s": np.array(0.1, np.float32),
        "z": np.array(0, np.int8),
        "w": WEIGHT.astype(np.int8),
    }
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("QLinearConv", ["q", "s", "z", "w", "s", "z", "s", "z"], ["r"]),
        node("DequantizeLinear", ["r", "s", "z"]),
    ]
    return model(nodes, weights=weights)


ACCEPTED = {
    "symmetric int8 Q/DQ": qdq(np.array(0, np.int8)),
    "per-channel weight, axis 0, float bias": conv_with_dq(np.zeros(4, np.float32)),
    "per-channel weight, axis 1": conv_with_dq(None, axis=1),
    "linear half_pixel Resize": resize(mode="linear", coordinate_transformation_mode="half_pixel"),
    "ScatterND without reduction": scatter("none"),
    "plain MaxPool": model([node("MaxPool", ["x"], kernel_shape=[2, 2])]),
    "opset 7": model([node("Relu", ["x"])], opsets={"": 7}),
    "TopK": model([node("TopK", ["x", "k"], ["y", "i"])], weights={"k": np.array([2], np.int64)}),
}
REFUSED = {
    "two DQ layers of one name": (
        model(
            [
                node("QuantizeLinear", ["x", "s", "z"], ["q"]),
                node("DequantizeLinear", ["q", "s", "z"], ["a"]),
                node("DequantizeLinear", ["q", "s", "z"], ["b"]),
                node("Add", ["a", "b"]),
            ],
            weights={"s": np.array(0.1, np.float32), "z": ZERO8},
        ),
        "has the name of another node",
    ),
    "uint8 zero-point 128": (qdq(np.array(128, np.uint8)), "zero-point 128 is not 0"),
    "int8 zero-point 3": (qdq(np.array(3, np.int8)), "zero-point 3 is not 0"),
    "int32 bias through DQ": (conv_with_dq(np.zeros(4, np.int32)), "int32 through DequantizeLinear"),
    "int16": (
        model(
            [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"])],
            weights={"s": np.array(0.1, np.float32), "z": ZERO16},
            opsets={"": 21},
        ),
        "int16 quantization is refused",
    ),
    "zero scale": (qdq(np.array(0, np.int8), scale=0.0), "scale 0 is not a positive number"),
    "negative scale": (qdq(np.array(0, np.int8), scale=-0.5), "scale -0.5 is not a positive number"),
    "QLinearConv": (qlinear_conv(), "no integer operators"),
    "DynamicQuantizeLinear": (
        model(
            [node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]), node("Cast", ["q"], to=F32)],
        ),
        "no integer operators",
    ),
    "antialias Resize": (resize(mode="linear", antialias=1), "no antialiased Resize"),
    "ScatterND with add": (scatter("add"), "ScatterND has no reduction"),
    "dilated MaxPool": (
        model([node("MaxPool", ["x"], kernel_shape=[2, 2], dilations=[2, 2])]),
        "pooling has no dilations",
    ),
    "Col2Im": (
        model(
            [node("Col2Im", ["x", "size", "block"])],
            weights={"size": np.array([4, 4], np.int64), "block": np.array([2, 2], np.int64)},
            x=(F32, (1, 12, 9)),
        ),
        "refuses Col2Im",
    ),
    "Unique": (model([node("Unique", ["x"], ["y"])]), "refuses Unique"),
    "custom domain": (
        model([node("Fancy", ["x"], domain="my.ops")], opsets={"": 18, "my.ops": 1}),
        "custom domain",
    ),
}


def job(name: str = "generic-tensorrt", software: str | None = "tensorrt-10.15", **fields: Any) -> Job:
    path = next(path for path in device_files("tensorrt") if path.stem == name)
    return Job(load_device(path, software), "int8", **fields)


def gaps(proto: onnx.ModelProto, given: Job | None = None) -> list[Gap]:
    component = Component("model", ir.from_proto(proto), "0")
    return TensorRT().check([component], given or job())


def errors(proto: onnx.ModelProto, given: Job | None = None) -> list[Gap]:
    return [gap for gap in gaps(proto, given) if gap.severity == "error"]


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_the_rtx_parser_takes_has_no_error_gap(name: str) -> None:
    pytest.importorskip("tensorrt_rtx")
    assert parse_with_rtx(ACCEPTED[name].SerializeToString()) == []
    assert errors(ACCEPTED[name]) == []


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_rtx_parser_refuses_has_an_error_gap(name: str) -> None:
    pytest.importorskip("tensorrt_rtx")
    proto, words = REFUSED[name]
    assert parse_with_rtx(proto.SerializeToString()) != []
    found = errors(proto)
    assert words in " ".join(gap.rule for gap in found)
    assert all(gap.node.startswith("the_") and gap.way_out for gap in found)


def test_uint8_with_zero_point_zero_is_an_error_although_the_parser_takes_it() -> None:
    """The parser reads it as int8 with a warning, so values above 127 would change silently."""
    assert {gap.rule for gap in errors(qdq(np.array(0, np.uint8)))} == {
        "uint8 is read as int8 (with zero-point 0 silently)"
    }
    assert len(errors(qdq(None))) == 2, "a missing zero-point means uint8"


def test_tensorrt_8_wants_a_zero_point_and_may_not_take_int8_weights() -> None:
    old = job(software="tensorrt-8.6")
    assert any("wants a zero-point" in gap.rule for gap in errors(qdq(None), old))
    assert not any("wants a zero-point" in gap.rule for gap in errors(qdq(None)))
    proto = conv_with_dq(None)
    proto.opset_import[0].version = 17
    assert ["FP32 weights" in gap.rule for gap in gaps(proto, old)] == [True]
    assert errors(proto, old) == []
    assert gaps(proto) == []


@pytest.mark.parametrize(
    ("version", "opset", "refused"),
    [
        ("8.5", 17, False),
        ("8.6", 18, True),
        ("9.3", 19, False),
        ("9.3", 20, True),
        ("10.1", 21, True),
        ("10.15", 24, False),
    ],
)
def test_an_opset_above_the_versions_is_refused(version: str, opset: int, refused: bool) -> None:
    found = errors(model([node("Relu", ["x"])], opsets={"": opset}), job(software=f"tensorrt-{version}"))
    assert bool(found) is refused
    assert not refused or f"opset {opset} is above" in found[0].rule


def test_an_operator_arrives_with_its_version() -> None:
    """The public tables list LayerNormalization from TensorRT 8.6 on."""
    weights = {"s": np.ones(8, np.float32)}
    proto = model([node("LayerNormalization", ["x", "s"])], weights=weights, opsets={"": 17})
    assert "is not an operator" in errors(proto, job(software="tensorrt-8.5"))[0].rule
    assert errors(proto, job(software="tensorrt-8.6")) == []


def test_a_version_without_a_table_is_unknown_and_only_warns() -> None:
    """TensorRT 10.3 (JetPack 6.2) lies between the tables of 10.1 and 10.15."""
    jetson = job("jetson-orin-nano-8gb", "jetpack-6.2")
    found = gaps(model([node("Bernoulli", ["x"])]), jetson)
    assert {gap.severity for gap in found} == {"warning"}
    assert "TensorRT 10.3" in found[0].rule
    assert "10.1" in found[0].way_out
    assert "TensorRT 10.1" in found[1].rule
    assert errors(REFUSED["int8 zero-point 3"][0], jetson), "measured rules hold in every version"


def test_versions_are_compared_as_numbers() -> None:
    assert table_for("10.3").version == "10.1"
    assert table_for("10.16").version == "10.15"
    assert table_for("10.15").is_exact
    assert not table_for("10.3").is_exact
    with pytest.raises(TargetError, match="older than the first"):
        table_for("7.2")
    with pytest.raises(TargetError, match="no TensorRT version"):
        table_for("ten")


def test_a_dynamic_dim_needs_a_range_and_a_size_or_range_settles_it() -> None:
    proto = model([node("Relu", ["x"])], x=(F32, ("n", 3, 8, 8)))
    assert "dim 0 ('n') has neither a size nor a range" in errors(proto)[0].rule
    dims = (DimRange(1, 8), DimRange(3, 3), DimRange(8, 8), DimRange(8, 8))
    assert errors(proto, job(shapes={"x": dims})) == []


def test_dims_that_share_a_name_but_not_a_size_are_refused() -> None:
    proto = model([node("Relu", ["x"])], x=(F32, (1, 3, "?", "?")))
    dims = (DimRange(1, 1), DimRange(3, 3), DimRange(48, 48), DimRange(32, 640))
    found = errors(proto, job(shapes={"x": dims}))
    assert ["x[2], x[3]" in gap.rule for gap in found] == [True]


def test_double_and_int64_and_string_tensors_are_told() -> None:
    double = model([node("Cast", ["x"], to=TensorProto.DOUBLE)], y=TensorProto.DOUBLE)
    assert ["double" in gap.rule for gap in gaps(double)] == [True]
    int64 = model([node("Identity", ["x"])], x=(TensorProto.INT64, (1,)), y=TensorProto.INT64)
    told = gaps(int64, job(software="tensorrt-8.6"))
    assert ["INT32 where" in gap.rule for gap in told if gap.node == "x"] == [True]
    assert gaps(int64) == []
    text = model([node("Identity", ["x"])], x=(TensorProto.STRING, (1,)), y=TensorProto.STRING)
    assert any("no such tensor type" in gap.rule for gap in errors(text))


def test_nodes_inside_a_subgraph_are_checked() -> None:
    inner = helper.make_graph(
        [node("Unique", ["x"], ["u"])], "branch", [], [helper.make_tensor_value_info("u", F32, None)]
    )
    weights = {"c": np.array(True)}
    proto = model([node("If", ["c"], then_branch=inner, else_branch=inner)], weights=weights)
    assert [gap.op for gap in errors(proto)] == ["Unique", "Unique"]


def test_the_rtx_verdict_is_told_as_what_it_is_and_only_when_asked() -> None:
    pytest.importorskip("tensorrt_rtx")
    proto = REFUSED["Unique"][0]
    assert not any("RTX" in gap.rule for gap in gaps(proto))
    told = [gap for gap in gaps(proto, job(options={"rtx": "on"})) if "RTX" in gap.rule]
    assert told
    assert all("RTX parser, not JetPack's" in gap.rule and gap.severity == "warning" for gap in told)


@pytest.mark.parametrize("options", [{"rtxx": "on"}, {"rtx": "maybe"}])
def test_an_unknown_option_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        gaps(ACCEPTED["opset 7"], job(options=options))


def test_every_rule_row_has_its_sentences_and_a_source() -> None:
    rows = {rule.name: rule for rules in rules_by_op().values() for rule in rules}
    assert len(rows) >= 15
    assert all(rule.rule and rule.way_out and rule.source for rule in rows.values())

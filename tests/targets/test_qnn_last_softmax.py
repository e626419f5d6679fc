"""The last Softmax or Sigmoid of a graph, on the CPU behind the context."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgekit._qdq.find_tail import find_tail
from edgekit._schemes import NATIVE_U8_S8
from edgekit.errors import UsageError
from edgekit.passes.serialize_model import save_model
from edgekit.targets.qnn.leave_softmax import append_tail, cut_tail
from edgekit.targets.qnn.library import open_session
from tests.models import run_onnx, toy_cnn
from tests.targets.qnn_models import FEEDS, TARGET, as_component, build, job, quantized

if TYPE_CHECKING:
    from pathlib import Path

Row = tuple[str, str, str] | tuple[str, str, str, dict[str, Any]]
AT_BORDER = {"QuantizeLinear", "DequantizeLinear"}
# As magika's, written out by its exporter.
WRITTEN_OUT: list[Row] = [
    ("ReduceMax", "s", "m", {"axes": [1], "keepdims": 0}),
    ("Max", "low m", "n"),
    ("Reshape", "n column", "r"),
    ("Sub", "s r", "d"),
    ("Exp", "d", "e"),
    ("ReduceSum", "e axes", "t", {"keepdims": 1}),
    ("Div", "e t", "y"),
]
SOFTMAX: list[Row] = [("Softmax", "s", "y", {"axis": 1})]
SHAPED: list[Row] = [("Sigmoid", "s", "p"), ("Reshape", "p pairs", "y")]


def net(rows: list[Row], width: int = 6, outputs: tuple[str, ...] = ("y",)) -> onnx.ModelProto:
    """x [2, 4] -> MatMul -> s -> rows."""
    rng = np.random.default_rng(5)
    constants = {
        "w": rng.standard_normal((4, width)).astype(np.float32),
        "low": np.array(-1e30, np.float32),
        "column": np.array([-1, 1]),
        "axes": np.array([1]),
        "pairs": np.array([-1, 2]),
    }
    every: list[Row] = [("MatMul", "x w", "s"), *rows]
    used = {name for row in every for name in row[1].split()}
    nodes = [
        helper.make_node(row[0], row[1].split(), [row[2]], row[2], **(row[3] if len(row) > 3 else {}))
        for row in every
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", TensorProto.FLOAT, (2, 4))],
        [info(name, TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def tail_of(model: onnx.ModelProto, **most: float) -> list[str]:
    return [node.op_type for node in find_tail(as_component(model).model, **most)]


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        (SOFTMAX, ["Softmax"]),
        (SHAPED, ["Sigmoid", "Reshape"]),
        (WRITTEN_OUT, [row[0] for row in WRITTEN_OUT]),
        ([("Relu", "s", "q"), ("Softmax", "q", "y", {"axis": 1})], ["Softmax"]),
        ([("Softmax", "s", "p"), ("MatMul", "p again", "y")], []),  # attention
        ([("Relu", "s", "y")], []),
        ([("Reshape", "s pairs", "y")], []),
    ],
    ids=["softmax", "shaped", "written out", "behind another", "inside", "none", "shapes alone"],
)
def test_what_ends_a_graph_in_a_softmax_stays_and_nothing_else(rows: list[Row], kept: list[str]) -> None:
    model = net(rows)
    if "again" in [name for row in rows for name in row[1].split()]:
        again = np.random.default_rng(6).standard_normal((6, 3)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(again, "again"))
    assert tail_of(model) == kept


def test_a_large_softmax_stays_on_the_htp_unless_the_user_says_otherwise() -> None:
    model = net(SOFTMAX, width=9000)  # 2 x 9000 numbers
    assert tail_of(model) == []
    assert tail_of(model, most=np.inf) == ["Softmax"]
    assert tail_of(net(SOFTMAX), most=0) == []


def test_a_softmax_of_an_input_has_nothing_in_front_to_compile() -> None:
    info = helper.make_tensor_value_info
    values = [info(name, TensorProto.FLOAT, (1, 4)) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Softmax", ["x"], ["y"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert tail_of(model) == []


@pytest.mark.parametrize("rows", [SOFTMAX, SHAPED, WRITTEN_OUT], ids=["softmax", "shaped", "written out"])
@pytest.mark.parametrize("outputs", [("y",), ("y", "s"), ("s", "y")], ids=" ".join)
def test_both_parts_in_one_file_give_the_whole_graphs_outputs_in_its_order(
    rows: list[Row], outputs: tuple[str, ...], tmp_path: Path
) -> None:
    model = as_component(net(rows, outputs=outputs)).model
    tail = find_tail(model)
    (path,) = save_model(cut_tail(model, tail), tmp_path / "head.onnx")
    assert [value.name for value in onnx.load(path).graph.output] == ["s"]
    context = ir.load(path)
    append_tail(context, model, tail)
    joined: onnx.ModelProto = ir.to_proto(context)
    onnx.checker.check_model(joined, full_check=True)
    assert tuple(value.name for value in joined.graph.output) == outputs
    feeds = {"x": np.random.default_rng(7).standard_normal((2, 4)).astype(np.float32)}
    want, got = run_onnx(net(rows, outputs=outputs), feeds), run_onnx(joined, feeds)
    assert all(np.array_equal(got[name], want[name]) for name in outputs)


def test_the_softmax_of_a_context_is_float32s_of_the_codes_that_the_htp_gives(tmp_path: Path) -> None:
    artifact = build(quantized(toy_cnn(), NATIVE_U8_S8), tmp_path, job(fallback="refuse"))
    path = tmp_path / artifact.main / "model.onnx"
    context = onnx.load(path)
    kinds = [node.op_type for node in context.graph.node]
    assert sorted(set(kinds) - AT_BORDER) == ["EPContext", "Softmax"]
    softmax = context.graph.node[-1]
    scores = next(node for node in context.graph.node if node.output[0] == softmax.input[0])
    assert scores.op_type == "DequantizeLinear"  # the HTP hands codes over, a byte each
    context.graph.output.append(helper.make_tensor_value_info(softmax.input[0], TensorProto.FLOAT, None))
    (path.parent / "shown.onnx").write_bytes(context.SerializeToString())
    probabilities, logits = open_session(str(path.parent / "shown.onnx"), {}, {}).run(None, FEEDS)
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    np.testing.assert_allclose(probabilities, powers / powers.sum(1, keepdims=True), rtol=1e-6)
    assert np.array_equal(TARGET.open(artifact, tmp_path).run(FEEDS)["y"], probabilities)


def test_what_is_kept_is_told_and_is_no_fallback(tmp_path: Path) -> None:
    artifact = build(quantized(toy_cnn(), NATIVE_U8_S8), tmp_path, job())
    told = json.loads((tmp_path / "model.int8.partition.json").read_text())["chips"][0]
    assert (told["contexts"], told["on_cpu"]) == (1, [])
    assert told["kept_on_cpu_by_edgekit"] == ["Softmax 'softmax'"]
    (row,) = [row for row in artifact.placements if row.why.startswith("kept on the CPU by edgekit")]
    assert (row.unit, row.ops, row.fallback) == ("CPU beside SM8650", 1, False)
    assert "Softmax 'softmax'" in row.why
    assert any("kept on the CPU by edgekit, in float32: Softmax 'softmax'" in note for note in artifact.notes)
    assert any("all but the end on the HTP" in note for note in artifact.notes)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_an_option_puts_it_on_the_htp_too(precision: Any, tmp_path: Path) -> None:
    component = as_component(toy_cnn()) if precision == "fp16" else quantized(toy_cnn(), NATIVE_U8_S8)
    outputs = {}
    for place in ("htp", "cpu"):
        (tmp_path / place).mkdir()
        artifact = build(component, tmp_path / place, job(precision, last_softmax=place))
        kinds = {
            node.op_type for node in onnx.load(tmp_path / place / artifact.main / "model.onnx").graph.node
        }
        assert ("Softmax" in kinds) == (place == "cpu")
        outputs[place] = TARGET.open(artifact, tmp_path / place).run(FEEDS)["y"]
    np.testing.assert_allclose(outputs["htp"], outputs["cpu"], atol=2e-3)
    assert not np.array_equal(outputs["htp"], outputs["cpu"])
    with pytest.raises(UsageError, match="did you mean 'last-softmax'"):
        TARGET.plan([component], job(last_soft="cpu"))


def test_a_chip_without_float16_needs_no_fallback_for_a_last_softmax(tmp_path: Path) -> None:
    artifact = build(quantized(toy_cnn(), NATIVE_U8_S8), tmp_path, job(device="qcs6490", fallback="refuse"))
    context = ir.load(tmp_path / artifact.main / "model.onnx")
    assert [node.op_type for node in context.graph].count("EPContext") == 1


def test_a_context_asks_for_no_newer_onnxruntime_than_its_opset_does(tmp_path: Path) -> None:
    artifact = build(quantized(toy_cnn(), NATIVE_U8_S8), tmp_path, job(last_softmax="htp"))
    context = onnx.load(tmp_path / artifact.main / "model.onnx")
    assert context.ir_version == 10  # as ONNX's table of versions has it for opset 21
    assert {(row.domain, row.version) for row in context.opset_import} == {("", 21), ("com.microsoft", 1)}

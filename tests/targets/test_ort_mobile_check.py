from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgekit._values import Component
from edgekit.targets.ort_mobile import OrtMobile
from tests.models import PACKAGE_MODELS, package_model, toy_attention, toy_cnn, toy_lstm
from tests.targets.ort_mobile_models import QdqGraph, build, component, job, qdq_cnn

if TYPE_CHECKING:
    from pathlib import Path

TARGET = OrtMobile()


def errors(model: onnx.ModelProto) -> list[Any]:
    return [gap for gap in TARGET.check([component(model)], job("fp32")) if gap.severity == "error"]


def one_node(
    op: str, *, domain: str = "", dtype: int = TensorProto.FLOAT, opset: int = 17
) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, dtype, [1, 1, 4, 4]) for name in ("x", "y"))
    node = helper.make_node(op, ["x"], ["y"], "the node", domain=domain)
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("name", sorted(PACKAGE_MODELS))
def test_models_that_onnxruntime_runs_have_no_error(name: str) -> None:
    path = package_model(name)
    gaps = TARGET.check([Component("model", ir.load(path), "0" * 64, path)], job("fp32"))
    assert [str(gap) for gap in gaps if gap.severity == "error"] == []


@pytest.mark.parametrize("toy", [toy_cnn, toy_lstm, toy_attention])
def test_toy_models_have_no_error(toy: Any) -> None:
    assert errors(toy()) == []


@pytest.mark.parametrize(("op", "opset"), [("HardSwish", 17), ("HardSwish", 23), ("Mish", 18), ("Relu", 23)])
def test_ops_that_onnx_defines_by_a_function_have_no_error(op: str, opset: int) -> None:
    assert errors(one_node(op, opset=opset)) == []


def test_an_unknown_op_or_domain_is_named_with_its_node() -> None:
    gap = errors(one_node("Fancy", domain="acme"))[0]
    assert (gap.node, gap.op) == ("the node", "Fancy")
    assert "no kernel for this op of domain 'acme'" in gap.rule
    assert "no kernel for this op of ONNX's domain" in errors(one_node("NoSuchOp"))[0].rule


def test_a_dtype_without_kernel_is_named() -> None:
    gap = errors(one_node("GlobalAveragePool", dtype=TensorProto.DOUBLE))[0]
    assert "tensor(double)" in gap.rule


def test_an_opset_from_the_future_is_refused() -> None:
    gap = errors(one_node("Relu", opset=99))[0]
    assert "opset 99 is newer than" in gap.rule


def test_fp16_is_an_error_before_any_work() -> None:
    gaps = TARGET.check([component(toy_cnn())], job("fp16"))
    assert any(gap.severity == "error" and "fp16" in gap.rule for gap in gaps)


def test_a_device_with_an_older_runtime_is_warned_about() -> None:
    given = job("fp32")
    old = dataclasses.replace(
        given.device, software="ort-1.17", versions={"ort-1.17": {"onnxruntime": "1.17"}}
    )
    gaps = TARGET.check([component(toy_cnn())], dataclasses.replace(given, device=old))
    assert any(gap.severity == "warning" and "'ort-1.17' is older" in gap.rule for gap in gaps)
    assert not any("is older" in gap.rule for gap in TARGET.check([component(toy_cnn())], given))


def test_uint8_data_with_int8_weights_is_warned_about() -> None:
    graph = QdqGraph("u8")
    x = graph.qdq("x")
    graph.dtype, graph.zero = np.int8, 0
    conv = graph.conv(x, 4, 3)
    graph.dtype, graph.zero = np.uint8, 128
    gaps = TARGET.check([component(graph.model(graph.qdq(conv)))], job())
    assert [gap.op for gap in gaps if "without VNNI" in gap.rule] == ["Conv"]
    clean = TARGET.check([component(qdq_cnn("u8"))], job())
    assert not [gap for gap in clean if "without VNNI" in gap.rule]


def test_check_changes_nothing() -> None:
    given = component(qdq_cnn("u8"))
    before = ir.to_proto(given.model).SerializeToString(deterministic=True)
    TARGET.check([given], job())
    assert ir.to_proto(given.model).SerializeToString(deterministic=True) == before


def test_providers_that_cannot_take_all_nodes_are_warned_about_for_the_float_graph_only() -> None:
    io = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 8, 8]) for name in ("x", "y")]
    nodes = [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("HardSigmoid", ["h"], ["y"])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", io[:1], io[1:]), opset_imports=[helper.make_opsetid("", 17)]
    )
    gaps = TARGET.check([component(model)], job())
    nnapi = next(gap for gap in gaps if gap.op == "NNAPI")
    # The NNAPI provider's own list has no HardSigmoid.
    assert "ai.onnx:HardSigmoid" in nnapi.rule
    assert nnapi.severity == "warning"
    quantized = TARGET.check([component(qdq_cnn("s8"))], job())
    assert not [gap for gap in quantized if "partitions" in gap.rule]


def test_the_bundle_holds_the_usability_report_of_the_int8_graph(tmp_path: Path) -> None:
    build(qdq_cnn("s8"), tmp_path)
    table = json.loads((tmp_path / "model.int8.usability.json").read_text())
    names = [row["provider"] for row in table["providers"]]
    assert names == ["NNAPI", "CoreML NeuralNetwork", "CoreML MLProgram"]
    # The Core ML provider's own list has no QuantizeLinear.
    assert "ai.onnx:QuantizeLinear" in table["providers"][2]["unsupported_ops"]
    text = (tmp_path / "model.int8.usability.txt").read_text()
    assert "Nothing here was run on a device" in text
    assert "partitions with a total of" in text
    assert "/tmp" not in text

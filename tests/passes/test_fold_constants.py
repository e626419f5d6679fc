"""A head tied to a vocabulary's table stays one weight that is read turned, however large it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit.passes import fold_constants as module
from edgekit.passes.fold_constants import fold_constants
from edgekit.passes.serialize_model import save_beside, serialize_model
from tests.models import run_onnx

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(7)
FEEDS = {"ids": np.array([[3, 250, 11]], np.int64)}


def tied() -> onnx.ModelProto:
    """Token ids -> rows of a table -> their products with every row of it."""
    table = RNG.standard_normal((256, 64)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="rows"),
        helper.make_node("Tanh", ["rows"], ["hidden"], name="hidden"),
        helper.make_node("Transpose", ["table"], ["head"], name="turn", perm=[1, 0]),
        helper.make_node("MatMul", ["hidden", "head"], ["logits"], name="logits"),
    ]
    graph = helper.make_graph(
        nodes,
        "tied",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3, 256])],
        [numpy_helper.from_array(table, "table")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("beside", [False, True])
def test_a_large_weight_that_is_turned_is_a_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: bool
) -> None:
    proto = tied()
    model = ir.from_proto(proto)
    if beside:
        model = ir.load(save_beside(model, tmp_path / "model.onnx")[0])
    monkeypatch.setattr(module, "LARGEST_FOLDED_BYTES", 1000)
    assert fold_constants(model) == 1
    assert [node.op_type for node in model.graph] == ["Gather", "Tanh", "MatMul"]
    expected = run_onnx(proto, FEEDS)["logits"]
    for folded in (model, model.clone()):
        np.testing.assert_array_equal(
            run_onnx(onnx.load_from_string(serialize_model(folded)), FEEDS)["logits"], expected
        )
    file, _ = save_beside(model, tmp_path / "folded.onnx")
    np.testing.assert_array_equal(run_onnx(file, FEEDS)["logits"], expected)


def test_a_large_tied_head_is_held_in_int4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a small one is: the folded Transpose decides nothing but when its numbers are read."""
    onnx.save(tied(), tmp_path / "tied.onnx")
    found = []
    for largest in (module.LARGEST_FOLDED_BYTES, 1000):
        monkeypatch.setattr(module, "LARGEST_FOLDED_BYTES", largest)
        result = edgekit.convert(
            tmp_path / "tied.onnx",
            targets=("ort-mobile",),
            precisions=("w4",),
            output=tmp_path / f"out-{largest}",
            cache="off",
        )
        (bundle,) = result.bundles
        found.append((bundle.folder / bundle.artifacts[0].main).read_bytes())
        assert b"MatMulNBits" in found[-1]
    assert found[0] == found[1]

"""Top-1 is counted where a largest number is a decision: at scores, not at states or embeddings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit._bundle import open_bundle
from edgekit._verify import find_scores
from tests.models import package_model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WEIGHT = np.random.default_rng(2).standard_normal((8, 8)).astype(np.float32)


def model(nodes: Sequence[onnx.NodeProto]) -> onnx.ModelProto:
    """`x` [1, 8] to `y` [1, 8], with the constants w [8, 8] and b [8]."""
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in ("x", "y")]
    weights = [numpy_helper.from_array(WEIGHT, "w"), numpy_helper.from_array(WEIGHT[0], "b")]
    graph = helper.make_graph(nodes, "g", shapes[:1], shapes[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def node(op: str, *names: str, **attributes: Any) -> onnx.NodeProto:
    """The last name is the output's."""
    return helper.make_node(op, list(names[:-1]), [names[-1]], **attributes)


SCORES = {
    "logits": [node("Gemm", "x", "w", "b", "y")],
    "logits with a bias behind": [node("MatMul", "x", "w", "m"), node("Add", "b", "m", "y")],
    "logits of a table that was only moved": [
        node("Transpose", "w", "t"),
        node("Cast", "t", "c", to=TensorProto.FLOAT),
        node("MatMul", "x", "c", "y"),
    ],
    "softmax of anything": [node("Mul", "x", "x", "m"), node("Softmax", "m", "y")],
    "a softmax written out": [
        node("Exp", "x", "e"),
        node("ReduceSum", "e", "s"),
        node("Div", "e", "s", "y"),
    ],
}
OTHERS = {
    "a state": [node("MatMul", "x", "w", "m"), node("Tanh", "m", "t"), node("Mul", "t", "x", "y")],
    "a pooled embedding": [node("Gemm", "x", "w", "b", "m"), node("Tanh", "m", "y")],
    "a normalized embedding": [node("MatMul", "x", "w", "m"), node("LayerNormalization", "m", "b", "y")],
    "a residual sum": [node("MatMul", "x", "w", "m"), node("Add", "m", "x", "y")],
    "probabilities of their own": [node("Gemm", "x", "w", "b", "m"), node("Sigmoid", "m", "y")],
    "a product with weights that follow the input": [
        node("Mul", "w", "x", "v"),
        node("MatMul", "x", "v", "y"),
    ],
    "the input": [node("Identity", "x", "y")],
}


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_known(name: str) -> None:
    assert find_scores(ir.from_proto(model(SCORES[name]))) == {"y"}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_score_is_known(name: str) -> None:
    assert find_scores(ir.from_proto(model(OTHERS[name]))) == frozenset()


@pytest.mark.parametrize(
    ("name", "scores"),
    [
        ("ppocr-cls", {"save_infer_model/scale_0.tmp_1"}),
        ("ppocr-rec", {"softmax_11.tmp_0"}),
        ("magika", {"target_label"}),
        ("basic-pitch", set()),
        ("silero-16k-sequence", set()),
    ],
)
def test_the_scores_of_real_models_are_known(name: str, scores: set[str]) -> None:
    assert find_scores(ir.load(package_model(name))) == scores


def test_an_embedding_is_gated_by_its_distance_alone_and_the_bundle_remembers(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    onnx.save(model(OTHERS["a pooled embedding"]), tmp_path / "m.onnx")
    for index, x in enumerate(np.random.default_rng(5).standard_normal((6, 1, 8)).astype(np.float32)):
        np.savez(tmp_path / "data" / f"{index}.npz", allow_pickle=False, x=x)
    result = edgekit.convert(
        tmp_path / "m.onnx",
        targets="ort-mobile",
        samples=tmp_path / "data",
        output=tmp_path / "out",
        cache="off",
    )
    assert [output.top1 for parity in result.bundles[0].parities for output in parity.against_fp32] == [
        None
    ] * 2
    folder = result.bundles[0].folder
    assert json.loads((folder / "manifest.json").read_text())["components"][0]["golden"]["scores"] == []
    with open_bundle(folder) as bundle:
        assert bundle.golden("model").scores == frozenset()
    proof = edgekit.verify(folder, samples=tmp_path / "data")
    assert [output.top1 for parity in proof.parities for output in parity.against_fp32] == [None] * 2

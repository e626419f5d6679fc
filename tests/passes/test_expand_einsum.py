from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from edgekit._values import Component
from edgekit.passes.expand_functions import expand_functions
from edgekit.passes.prepare_component import prepare_component

RNG = np.random.default_rng(11)
CASES = [
    ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]),
    ("bqhd,bkhd->bhqk", [(2, 4, 3, 5), (2, 6, 3, 5)]),
    ("...ij,...jk->...ik", [(2, 3, 4), (5, 2, 4, 6)]),
    ("...ij,jk", [(2, 3, 4), (4, 6)]),
    ("bchw,bkc->bkhw", [(2, 3, 4, 5), (2, 6, 3)]),
    ("ij,ij->ij", [(3, 4), (3, 4)]),
    ("i,j->ij", [(3,), (4,)]),
    ("i,i->", [(3,), (3,)]),
    ("ij->ji", [(3, 4)]),
    ("ijk->i", [(3, 4, 5)]),
    ("ba", [(3, 4)]),
    ("ab,bc,cd->ad", [(2, 3), (3, 4), (4, 5)]),
    ("bij,bjk,bk->bi", [(2, 3, 4), (2, 4, 5), (2, 5)]),
    ("abc,cd->ad", [(2, 3, 4), (4, 5)]),
    ("bnij,jd->bnid", [(1, 2, 3, 4), (4, 5)]),
]


def einsum(equation: str, shapes: list[tuple[int, ...]]) -> onnx.ModelProto:
    names = [f"i{index}" for index in range(len(shapes))]
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip(names, shapes, strict=True)
    ]
    node = helper.make_node("Einsum", names, ["y"], equation=equation)
    graph = helper.make_graph(
        [node], "einsum", infos, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def expanded(model: onnx.ModelProto) -> onnx.ModelProto:
    component = prepare_component(Component("m", ir.from_proto(model), "0" * 64), shapes={})
    expand_functions(component.model, {"Einsum"})
    return ir.to_proto(component.model)


@pytest.mark.parametrize(("equation", "shapes"), CASES)
def test_the_expansion_gives_what_numpy_gives(equation: str, shapes: list[tuple[int, ...]]) -> None:
    arrays = [RNG.standard_normal(shape).astype(np.float32) for shape in shapes]
    model = expanded(einsum(equation, shapes))
    assert "Einsum" not in {node.op_type for node in model.graph.node}
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: Any = session.run(None, {f"i{index}": array for index, array in enumerate(arrays)})[0]
    np.testing.assert_allclose(result, np.einsum(equation, *arrays), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("equation", "shapes"), [("ii->i", [(3, 3)]), ("bii->b", [(2, 3, 3)])])
def test_a_diagonal_stays_an_einsum(equation: str, shapes: list[tuple[int, ...]]) -> None:
    assert [node.op_type for node in expanded(einsum(equation, shapes)).graph.node] == ["Einsum"]

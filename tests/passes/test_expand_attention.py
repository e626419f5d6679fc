from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit._values import Component
from edgekit.passes.expand_functions import expand_functions
from edgekit.passes.prepare_component import prepare_component
from tests.conformance import node_cases

OPS = ("Attention", "FlexAttention")


@cache
def attention_cases() -> dict[str, Any]:
    """ONNX's own cases of both ops in dtypes that ONNX Runtime computes on, with all their outputs."""
    kinds = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BOOL, TensorProto.INT64)
    return {
        test.name: test
        for test in node_cases()
        if test.model is not None
        and any(node.op_type in OPS for node in test.model.graph.node)
        and test.name != "test_flexattention_fp16"  # left as it is: only float32 is written out
        and all(value.type.tensor_type.elem_type in kinds for value in test.model.graph.input)
    }


def expanded(model: onnx.ModelProto) -> onnx.ModelProto:
    own = onnx.ModelProto.FromString(model.SerializeToString())  # the cases are every test's
    component = prepare_component(Component("model", ir.from_proto(own), "0" * 64), shapes={})
    expand_functions(component.model, OPS)
    return ir.to_proto(component.model)


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", 23))  # the newest that ONNX Runtime is sure of
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(item) for item in session.run(None, feeds)]


@pytest.mark.parametrize("name", attention_cases())
def test_the_expansion_gives_what_onnx_expects_for_every_output(name: str) -> None:
    test = attention_cases()[name]
    inputs, outputs = (
        [numpy_helper.to_array(item) if isinstance(item, TensorProto) else item for item in side]
        for side in test.data_sets[0]
    )
    model = expanded(test.model)
    assert not {node.op_type for node in model.graph.node} & {*OPS, "Shape", "Loop", "If"}
    results = run(
        model, {value.name: item for value, item in zip(test.model.graph.input, inputs, strict=True)}
    )
    tolerance = 1e-2 if any(item.dtype == np.float16 for item in outputs) else 1e-4
    for result, expected in zip(results, outputs, strict=True):
        assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", [name for name in attention_cases() if "flex" in name])
def test_the_model_that_was_given_keeps_its_tensors_names(name: str) -> None:
    """The tensors of a body that is put in are the caller's own."""
    given = onnx.ModelProto.FromString(attention_cases()[name].model.SerializeToString())
    before = given.SerializeToString(deterministic=True)
    component = prepare_component(Component("model", ir.from_proto(given), "0" * 64), shapes={})
    expand_functions(component.model, OPS)
    assert given.SerializeToString(deterministic=True) == before


def test_keys_of_grouped_heads_are_not_repeated() -> None:
    model = expanded(attention_cases()["test_attention_4d_gqa"].model)
    assert {node.op_type for node in model.graph.node} <= {"Mul", "Reshape", "Transpose", "MatMul", "Softmax"}


def test_a_mask_without_fully_masked_rows_needs_no_guard() -> None:
    model = expanded(attention_cases()["test_attention_4d_causal"].model)
    assert not {node.op_type for node in model.graph.node} & {"Where", "ReduceMax"}

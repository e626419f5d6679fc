"""ONNX files of every honest form are read, and their digest covers all of their bytes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgekit.passes.prepare_component import prepare_component
from edgekit.sources.graph_io import inputs_of, outputs_of
from edgekit.sources.onnx_file import load_onnx
from tests.models import PACKAGE_MODELS, TOYS, package_model, run_onnx
from tests.sources.onnx_files import external, matmul_model, saved

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", PACKAGE_MODELS)
def test_real_models_load_and_their_digest_is_that_of_the_file(name: str) -> None:
    path = package_model(name)
    assert load_onnx(path).digest == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("toy", TOYS)
def test_toys_load_with_their_inputs_and_outputs(toy: str, tmp_path: Path) -> None:
    component = load_onnx(str(saved(tmp_path, TOYS[toy]())))
    assert component.name == "model"
    assert [info.name for info in inputs_of(component.model)] == ["x"]
    assert [(info.name, info.dtype) for info in outputs_of(component.model)] == [("y", "float32")]


def test_external_weights_are_read_and_counted_in_the_digest(tmp_path: Path) -> None:
    path = external(tmp_path)
    component = load_onnx(path)
    tensor = component.model.graph.initializers["w"].const_value
    assert isinstance(tensor, ir.ExternalTensor)
    np.testing.assert_array_equal(tensor.numpy(), np.eye(4, dtype=np.float32))
    both = hashlib.sha256(path.read_bytes() + (tmp_path / "weights.bin").read_bytes()).hexdigest()
    assert component.digest == both


def test_a_domain_with_function_bodies_in_the_model_is_read(tmp_path: Path) -> None:
    proto = matmul_model(np.eye(4, dtype=np.float32))
    proto.graph.node[0].domain = "mine"
    proto.graph.node[0].op_type = "Times"
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    body = [helper.make_node("MatMul", ["a", "b"], ["c"])]
    opsets = [helper.make_opsetid("", 17)]
    proto.functions.append(helper.make_function("mine", "Times", ["a", "b"], ["c"], body, opsets))
    assert len(load_onnx(saved(tmp_path, proto)).model.functions) == 1


def test_minus_infinity_in_an_attention_mask_is_legitimate(tmp_path: Path) -> None:
    assert load_onnx(saved(tmp_path, TOYS["toy-attention"]())).digest


_MEASURE = """
import resource, sys
from edgekit.sources.onnx_file import load_onnx
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
component = load_onnx(sys.argv[1])
from edgekit._cost import node_costs
size = sum(cost.weight_bytes for cost in node_costs(component.model))
print(size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_model_of_a_gigabyte_is_inspected_in_little_memory(tmp_path: Path) -> None:
    rows, columns = 16384, 19200  # 1.26 GB of float32, sparse on disk
    size = rows * columns * 4
    with (tmp_path / "weights.bin").open("wb") as stream:
        stream.truncate(size)
    proto = matmul_model(np.zeros((1, 1), np.float32))
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.dims[:] = [rows, columns]
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", str(size))):
        tensor.external_data.add(key=key, value=value)
    path = saved(tmp_path, proto)
    run = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(path)], capture_output=True, text=True, check=True
    )
    weights, grown_kib = map(int, run.stdout.split())
    assert weights == size
    assert grown_kib < 150 * 1024


def test_a_function_whose_attributes_refer_to_its_caller_is_read(tmp_path: Path) -> None:
    proto = matmul_model(np.eye(4, dtype=np.float32))
    proto.graph.node[0].output[0] = "m"
    proto.graph.node.append(helper.make_node("Leaky", ["m"], ["y"], "leaky", domain="mine", slope=0.5))
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    body = helper.make_node("LeakyRelu", ["a"], ["b"])
    body.attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    opsets = [helper.make_opsetid("", 17)]
    proto.functions.append(helper.make_function("mine", "Leaky", ["a"], ["b"], [body], opsets, ["slope"]))
    model = prepare_component(load_onnx(saved(tmp_path, proto)), shapes={}).model
    assert [node.op_type for node in model.graph] == ["MatMul", "LeakyRelu"]
    feeds = {"x": np.array([[-2, -1, 1, 2]], np.float32)}
    np.testing.assert_array_equal(run_onnx(model, feeds)["y"], [[-1, -0.5, 1, 2]])

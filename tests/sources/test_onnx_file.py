"""Broken, hostile and odd ONNX files: each is refused with the file or node, the rule and a way out."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import EdgekitError, ModelError, SourceError
from edgekit.passes.prepare_component import prepare_component
from edgekit.sources.graph_io import inputs_of, outputs_of
from edgekit.sources.onnx_file import load_onnx
from tests.models import PACKAGE_MODELS, TOYS, package_model, run_onnx, toy_cnn

if TYPE_CHECKING:
    from pathlib import Path


def matmul_model(weight: np.ndarray, *, opset: int = 17) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
        "matmul",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, weight.shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, weight.shape[1]])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def saved(folder: Path, proto: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def external(folder: Path, *, location: str = "weights.bin", offset: str = "0", length: str = "64") -> Path:
    """A 4x4 MatMul whose weight lies outside; `weights.bin` holds its 64 bytes."""
    (folder / "weights.bin").write_bytes(np.eye(4, dtype=np.float32).tobytes())
    proto = matmul_model(np.zeros((4, 4), np.float32))
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=value)
    return saved(folder, proto)


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


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"absent\.onnx can't be read"):
        load_onnx(tmp_path / "absent.onnx")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is a folder"):
        load_onnx(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello, I am no model\n" * 50, b"\x00" * 100, b"PK\x03\x04zip"])
def test_files_that_are_no_model_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"model\.onnx"):
        load_onnx(path)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_truncated_model_is_refused(share: float, tmp_path: Path) -> None:
    data = toy_cnn().SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises((SourceError, ModelError)):
        load_onnx(path)


def test_external_weights_are_read_and_counted_in_the_digest(tmp_path: Path) -> None:
    path = external(tmp_path)
    component = load_onnx(path)
    tensor = component.model.graph.initializers["w"].const_value
    assert isinstance(tensor, ir.ExternalTensor)
    np.testing.assert_array_equal(tensor.numpy(), np.eye(4, dtype=np.float32))
    both = hashlib.sha256(path.read_bytes() + (tmp_path / "weights.bin").read_bytes()).hexdigest()
    assert component.digest == both


def test_missing_external_data_are_named(tmp_path: Path) -> None:
    path = external(tmp_path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(SourceError, match=r"'weights\.bin' \(tensor 'w'\) is missing"):
        load_onnx(path)


@pytest.mark.parametrize(
    "location",
    [
        "/etc/passwd", "../secret.bin", "sub/../../secret.bin", "", "C:\\secret.bin", "..\\secret.bin",
        "\\\\host\\share", "weights.bin\0",
    ],
)  # fmt: skip
def test_external_paths_that_leave_the_folder_are_refused(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    with pytest.raises(SourceError, match="isn't a path inside the model's folder"):
        load_onnx(external(folder, location=location))


def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(SourceError, match="a link that leaves"):
        load_onnx(external(folder, location="link.bin"))


def test_a_pipe_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.bin")
    with pytest.raises(SourceError, match="is missing"):
        load_onnx(external(tmp_path, location="pipe.bin"))


@pytest.mark.parametrize(
    ("offset", "length", "says"),
    [
        ("4", "64", "lies at bytes 4..68 of weights.bin, which has 64"),
        ("0", "65", "lies at bytes 0..65"),
        ("-4", "64", "lies at bytes -4..60"),
        ("99999999999999999999", "64", "which has 64 bytes"),
        ("0", "32", "needs 64 bytes"),
        ("zero", "64", "no number"),
    ],
)
def test_external_extents_beyond_the_file_are_refused(
    offset: str, length: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=says):
        load_onnx(external(tmp_path, offset=offset, length=length))


def test_inline_weights_shorter_than_their_shape_are_refused(tmp_path: Path) -> None:
    proto = matmul_model(np.zeros((4, 4), np.float32))
    proto.graph.initializer[0].dims[0] = 1_000_000_000
    with pytest.raises(SourceError, match="'w' needs 16000000000 bytes"):
        load_onnx(saved(tmp_path, proto))


def test_an_unknown_op_is_named(tmp_path: Path) -> None:
    proto = matmul_model(np.zeros((4, 4), np.float32))
    proto.graph.node[0].op_type = "MatMull"
    with pytest.raises(ModelError, match="MatMull 'product': opset 17 has no such op"):
        load_onnx(saved(tmp_path, proto))


def test_an_op_newer_than_the_opset_is_named(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Gelu", ["x"], ["y"], "act")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(ModelError, match="Gelu 'act': opset 17 has no such op"):
        load_onnx(saved(tmp_path, proto))


def test_an_unknown_domain_is_named(tmp_path: Path) -> None:
    proto = matmul_model(np.zeros((4, 4), np.float32))
    proto.graph.node[0].domain = "com.microsoft"
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(ModelError, match=r"MatMul 'product' comes from domain 'com\.microsoft'"):
        load_onnx(saved(tmp_path, proto))


def test_a_domain_with_function_bodies_in_the_model_is_read(tmp_path: Path) -> None:
    proto = matmul_model(np.eye(4, dtype=np.float32))
    proto.graph.node[0].domain = "mine"
    proto.graph.node[0].op_type = "Times"
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    body = [helper.make_node("MatMul", ["a", "b"], ["c"])]
    opsets = [helper.make_opsetid("", 17)]
    proto.functions.append(helper.make_function("mine", "Times", ["a", "b"], ["c"], body, opsets))
    assert len(load_onnx(saved(tmp_path, proto)).model.functions) == 1


def test_an_unknown_attribute_is_named(tmp_path: Path) -> None:
    proto = matmul_model(np.zeros((4, 4), np.float32))
    proto.graph.node[0].attribute.append(helper.make_attribute("turbo", 1))
    with pytest.raises(ModelError, match=r"MatMul 'product' breaks ONNX's own rules.*turbo"):
        load_onnx(saved(tmp_path, proto))


@pytest.mark.parametrize(("opset", "says"), [(6, "has opset 6"), (99, "has opset 99")])
def test_opsets_too_old_or_too_new_are_refused(opset: int, says: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=says):
        load_onnx(saved(tmp_path, matmul_model(np.zeros((4, 4), np.float32), opset=opset)))


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "NaN"), (np.inf, "Inf"), (-np.inf, "Inf")])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_weights_that_are_not_finite_are_refused(
    value: float, kind: str, dtype: type, tmp_path: Path
) -> None:
    weight: np.ndarray = np.zeros((4, 4), dtype)
    weight[2, 3] = value
    proto = matmul_model(weight)
    proto.graph.input[0].type.tensor_type.elem_type = proto.graph.initializer[0].data_type
    with pytest.raises(ModelError, match=rf"'w' \(used by MatMul 'product'\) holds {kind}"):
        load_onnx(saved(tmp_path, proto))


def test_nan_in_external_weights_is_found(tmp_path: Path) -> None:
    path = external(tmp_path)
    weight = np.zeros((4, 4), np.float32)
    weight[3, 3] = np.nan
    (tmp_path / "weights.bin").write_bytes(weight.tobytes())
    with pytest.raises(ModelError, match="holds NaN"):
        load_onnx(path)


def test_minus_infinity_in_an_attention_mask_is_legitimate(tmp_path: Path) -> None:
    assert load_onnx(saved(tmp_path, TOYS["toy-attention"]())).digest


def test_a_graph_without_outputs_is_refused(tmp_path: Path) -> None:
    proto = matmul_model(np.zeros((4, 4), np.float32))
    del proto.graph.output[:]
    with pytest.raises(ModelError, match="no outputs"):
        load_onnx(saved(tmp_path, proto))


def test_duplicate_names_are_refused(tmp_path: Path) -> None:
    proto = matmul_model(np.zeros((4, 4), np.float32))
    proto.graph.node.append(helper.make_node("Relu", ["x"], ["y"], "again"))
    with pytest.raises(ModelError, match="Relu 'again' makes 'y', a name already taken"):
        load_onnx(saved(tmp_path, proto))
    proto = matmul_model(np.zeros((4, 4), np.float32))
    proto.graph.initializer.append(proto.graph.initializer[0])
    with pytest.raises(ModelError, match="two initializers are called 'w'"):
        load_onnx(saved(tmp_path, proto))


def test_a_value_that_nothing_makes_is_named(tmp_path: Path) -> None:
    proto = matmul_model(np.zeros((4, 4), np.float32))
    proto.graph.node[0].input[0] = "ghost"
    with pytest.raises(ModelError, match="MatMul 'product' reads 'ghost'"):
        load_onnx(saved(tmp_path, proto))


_MEASURE = """
import resource, sys
from edgekit.sources.onnx_file import load_onnx
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
component = load_onnx(sys.argv[1])
from edgekit._cost import total_cost
size = total_cost(component.model).weight_bytes
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


@pytest.mark.parametrize("seed", range(4))
def test_a_model_with_flipped_bytes_is_read_or_refused_but_never_crashes(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    path = tmp_path / "model.onnx"
    refused = 0
    for _ in range(100):
        data = bytearray(toy_cnn().SerializeToString())
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            prepare_component(load_onnx(path), shapes={})
        except EdgekitError:
            refused += 1
    assert refused > 0

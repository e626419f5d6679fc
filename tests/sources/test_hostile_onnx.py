"""Broken and hostile ONNX files: each is refused with the file or node, the rule and a way out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgekit.errors import EdgekitError, ModelError, SourceError
from edgekit.passes.prepare_component import prepare_component
from edgekit.sources.onnx_file import load_onnx
from tests.models import toy_cnn
from tests.sources.onnx_files import external, matmul_model, saved

if TYPE_CHECKING:
    from pathlib import Path


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


def test_a_control_character_in_the_name_of_an_input_is_refused(tmp_path: Path) -> None:
    proto = matmul_model(np.zeros((4, 4), np.float32))
    proto.graph.input[0].name = proto.graph.node[0].input[0] = "x\x1b[2J"
    with pytest.raises(ModelError, match=r"input 'x\\x1b\[2J' has a control character"):
        load_onnx(saved(tmp_path, proto))

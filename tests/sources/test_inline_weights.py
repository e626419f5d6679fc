"""Weights that stay in their ONNX file are the numbers that onnx reads, and broken files fail as before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import EdgekitError, SourceError
from edgekit.passes._rewire import lies_in_file
from edgekit.passes.serialize_model import serialize_model
from edgekit.sources import inline_weights
from edgekit.sources.onnx_file import load_onnx
from tests.models import PACKAGE_MODELS, package_model, run_onnx

if TYPE_CHECKING:
    from pathlib import Path

DTYPES = (np.float32, np.float16, np.int64, np.int8, np.bool_)


@pytest.fixture
def mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every weight of every file stays in its file."""
    monkeypatch.setattr(inline_weights, "LEAST_FILE_BYTES", 0)
    monkeypatch.setattr(inline_weights, "LEAST_WEIGHT_BYTES", 1)


def many_weights() -> onnx.ModelProto:
    """A weight of each dtype, one in typed fields, one without elements, one a scalar; nodes around them."""
    rng = np.random.default_rng(17)
    weights = [
        numpy_helper.from_array((rng.standard_normal((3, 5)) * 4).astype(dtype), f"w{place}")
        for place, dtype in enumerate(DTYPES)
    ]
    weights += [
        helper.make_tensor("typed", TensorProto.FLOAT, [4], [1.0, 2.0, 3.0, 4.0]),
        numpy_helper.from_array(np.zeros((0, 2), np.float32), "none"),
        numpy_helper.from_array(np.array(2.5, np.float32), "scalar"),
        numpy_helper.from_array(rng.standard_normal((4, 4)).astype(np.float32), "square"),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "square"], ["p"], "product"),
        helper.make_node("Add", ["p", "typed"], ["q"], "sum"),
        helper.make_node("Mul", ["q", "scalar"], ["y"], "scaled"),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], weights, doc_string="a graph")
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="a test"
    )


def outcome(path: Path) -> tuple[object, ...]:
    """What loading a file gives: the whole model and its digest, or the words it is refused with."""
    try:
        component = load_onnx(path)
    except EdgekitError as error:
        return type(error), str(error)
    try:
        return serialize_model(component.model), component.digest
    except ir.serde.SerdeError:  # a name that is no text: it was read, and cannot be written
        return str(component.model.producer_name), component.digest


def plainly(path: Path) -> tuple[object, ...]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inline_weights, "LEAST_FILE_BYTES", 1 << 60)
        return outcome(path)


def test_each_weight_is_what_onnx_reads(mapping: None, tmp_path: Path) -> None:
    model = many_weights()
    onnx.save(model, tmp_path / "m.onnx")
    found = load_onnx(tmp_path / "m.onnx").model.graph.initializers
    wanted = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        assert value.const_value is not None
        np.testing.assert_array_equal(value.const_value.numpy(), wanted[name], strict=True)
    held = {name for name, value in found.items() if lies_in_file(value.const_value)}
    assert held == wanted.keys() - {"typed", "none"}


def test_the_model_computes_and_is_written_as_before(mapping: None, tmp_path: Path) -> None:
    path, model = tmp_path / "m.onnx", many_weights()
    model.graph.initializer[0].doc_string = "of the first"
    onnx.save(model, path)
    assert outcome(path) == plainly(path)
    x = np.random.default_rng(2).standard_normal((2, 4)).astype(np.float32)
    np.testing.assert_array_equal(
        run_onnx(load_onnx(path).model, {"x": x})["y"], run_onnx(model, {"x": x})["y"]
    )


@pytest.mark.parametrize("name", [name for name in PACKAGE_MODELS if name.startswith(("ppocr", "silero"))])
def test_files_of_others_are_the_same_model(mapping: None, name: str) -> None:
    assert outcome(package_model(name)) == plainly(package_model(name))


def test_every_cut_short_file_fails_as_before(mapping: None, tmp_path: Path) -> None:
    data = many_weights().SerializeToString()
    path = tmp_path / "m.onnx"
    for size in range(1, len(data), 7):
        path.write_bytes(data[:size])
        assert outcome(path) == plainly(path), size


def test_changed_bytes_give_what_they_gave_before(mapping: None, tmp_path: Path) -> None:
    data = many_weights().SerializeToString()
    path, rng = tmp_path / "m.onnx", np.random.default_rng(5)
    for place in range(len(data)):
        broken = bytearray(data)
        broken[place] ^= int(rng.integers(1, 256))
        path.write_bytes(broken)
        assert outcome(path) == plainly(path), place


def field(number: int, content: bytes) -> bytes:
    """A field of bytes by protobuf's rules: key, length, content (both below 16384)."""
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + content


def test_unusual_messages_are_left_to_protobuf(mapping: None, tmp_path: Path) -> None:
    model, path = many_weights(), tmp_path / "m.onnx"
    weight = next(one for one in model.graph.initializer if one.name == "square")
    other = weight.SerializeToString() + field(9, bytes(64))  # a second raw_data: the last one counts
    graph = model.graph.SerializeToString()
    whole = model.SerializeToString()
    for content in (
        whole + field(7, b""),  # a second graph, which is merged into the first
        whole + field(7, field(5, other.replace(b"square", b"circle"))),
        whole + bytes([7 << 3 | 3, 7 << 3 | 4]),  # a group, which no exporter writes
        whole + bytes([7 << 3 | 2]) + b"\xff" * 12,  # a length of more than ten bytes
        whole + bytes([7 << 3 | 2]) + b"\xff" * 9 + b"\x01",  # and one of 2^64 - 1
        whole + bytes([0, 0]),  # field number 0
        field(7, graph + field(5, other.replace(b"square", b"circle"))) + whole,
    ):
        path.write_bytes(content)
        assert outcome(path) == plainly(path)


def test_a_weight_of_another_size_than_its_shape_is_refused(mapping: None, tmp_path: Path) -> None:
    model = many_weights()
    model.graph.initializer[0].dims[0] = 4
    onnx.save(model, tmp_path / "m.onnx")
    found = outcome(tmp_path / "m.onnx")
    assert "needs 80 bytes for its shape and dtype and holds 60" in str(found[1])
    assert found == plainly(tmp_path / "m.onnx")


def test_links_are_read_and_only_plain_files_mapped(mapping: None, tmp_path: Path) -> None:
    onnx.save(many_weights(), tmp_path / "m.onnx")
    (tmp_path / "folder").mkdir()
    link, hard = tmp_path / "folder" / "link.onnx", tmp_path / "hard.onnx"
    link.symlink_to(tmp_path / "m.onnx")
    wanted = plainly(tmp_path / "m.onnx")
    assert outcome(link) == wanted
    assert lies_in_file(load_onnx(link).model.graph.initializers["square"].const_value)
    os.link(tmp_path / "m.onnx", hard)
    assert outcome(hard) == wanted
    assert not lies_in_file(load_onnx(hard).model.graph.initializers["square"].const_value)


def test_small_files_are_read_whole(tmp_path: Path) -> None:
    onnx.save(many_weights(), tmp_path / "m.onnx")
    initializers = load_onnx(tmp_path / "m.onnx").model.graph.initializers
    assert not any(lies_in_file(value.const_value) for value in initializers.values())


def test_typed_numbers_that_do_not_fill_their_tensor_are_a_damaged_file(tmp_path: Path) -> None:
    model = many_weights()
    typed = next(one for one in model.graph.initializer if one.name == "typed")
    typed.dims[0] = 101
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(SourceError, match="the graph is damaged"):
        load_onnx(tmp_path / "m.onnx")

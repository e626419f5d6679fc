"""Weights alone: each runtime's file holds the very integers and scales that the others hold.

The files are read back with each runtime's own reader (onnx, onnxruntime's flatbuffer classes, LiteRT's
schema, Core ML's messages), never with the code that wrote them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import edgekit
from edgekit.targets.litert.artifact_macs import read_file
from tests.converted import JETSON
from tests.targets.coreml_models import read_back
from tests.targets.litert_models import model_of
from tests.targets.ort_mobile_models import onnxruntime_graph

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Held = tuple[NDArray[np.int8], NDArray[np.float32]]  # codes [N, K], scales [N, blocks]

ROWS, COLUMNS = 48, 96
TARGETS = (JETSON, "ort-mobile", "litert", "iphone")


@pytest.fixture(scope="module", params=["rtn", "gptq"])
def bundles(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("same")
    rng = np.random.default_rng(5)
    weight = rng.standard_normal((COLUMNS, ROWS)).astype(np.float32)
    mixed = rng.standard_normal((COLUMNS, COLUMNS)).astype(np.float32)
    (folder / "data").mkdir()
    for index in range(8):
        np.savez(
            folder / "data" / f"{index}.npz", x=rng.standard_normal((3, COLUMNS)).astype(np.float32) @ mixed
        )
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    model = model_of([node], {"x": [3, COLUMNS]}, {"w": weight})
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    result = edgekit.convert(
        folder / "m.onnx",
        targets=TARGETS,
        precisions=["w4", "w8"],
        weights=request.param,
        samples=folder / "data",
        options={"litert.weights": "dynamic"},
        output=folder / "out",
        cache="off",
    )
    assert result.passed
    words = {"rtn": "; round to nearest", "gptq": "; gptq: "}[request.param]
    assert sum(words in note for note in result.notes) == 2 * len(TARGETS)
    return dict(zip(TARGETS, (bundle.folder for bundle in result.bundles), strict=True))


def unpack(data: NDArray[np.uint8], bits: int, zero: int) -> NDArray[np.int8]:
    """The codes of a flat run of bytes, the low half first; `zero` was added to each."""
    halves = data if bits == 8 else np.stack([data & 15, data >> 4], axis=-1).reshape(-1)
    signed = halves.astype(np.int16) - zero
    top = 1 << (bits - 1)
    return np.where(signed >= top, signed - 2 * top, signed).astype(np.int8)


def from_tensorrt(path: Path, bits: int) -> Held:
    graph = onnx.load(path).graph
    (restored,) = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    held = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    codes, scales = held[restored.input[0]], held[restored.input[1]]
    assert str(codes.dtype) == f"int{bits}"
    return codes.astype(np.int8).T, scales.T.reshape(ROWS, -1)


def from_onnxruntime(path: Path, bits: int) -> Held:
    graph = onnxruntime_graph(path.read_bytes())
    nodes = [graph.Nodes(index) for index in range(graph.NodesLength())]
    (product,) = [node for node in nodes if node.OpType() == b"MatMulNBits"]
    held = {
        graph.Initializers(index).Name(): np.asarray(graph.Initializers(index).RawDataAsNumpy(), np.uint8)
        for index in range(graph.InitializersLength())
    }
    codes = unpack(held[product.Inputs(1)], bits, 1 << (bits - 1)).reshape(ROWS, -1)[:, :COLUMNS]
    return codes, held[product.Inputs(2)].view(np.float32).reshape(ROWS, -1)


def from_litert(path: Path, bits: int) -> Held:
    schema, file = read_file(path.read_bytes())
    tensors = file.subgraphs[0].tensors
    kind = schema.TensorType.INT4 if bits == 4 else schema.TensorType.INT8
    (weight,) = [item for item in tensors if item.type == kind]
    data = np.asarray(file.buffers[weight.buffer].data, np.uint8)
    codes = unpack(data, bits, 0).reshape(ROWS, COLUMNS)
    if bits == 8:
        return codes, np.asarray(weight.quantization.scale, np.float32).reshape(ROWS, 1)
    scales = np.asarray(file.buffers[tensors[weight.quantization.details.scales].buffer].data, np.uint8)
    return codes, scales.view(np.float16).astype(np.float32).reshape(ROWS, -1)


def from_coreml(path: Path, bits: int) -> Held:
    saved = read_back(path)
    (restored,) = [item for item in saved.operations if item.type == "constexpr_blockwise_shift_scale"]
    codes, scales = np.asarray(saved.value(restored, "data")), np.asarray(saved.value(restored, "scale"))
    assert restored.inputs["data"]
    del bits
    turned = codes.shape == (COLUMNS, ROWS)
    codes, scales = (codes.T, scales.T) if turned else (codes, scales)
    return codes.astype(np.int8), scales.astype(np.float32)


READERS: dict[str, tuple[str, Any]] = {
    JETSON: ("onnx", from_tensorrt),
    "ort-mobile": ("ort", from_onnxruntime),
    "litert": ("tflite", from_litert),
    "iphone": ("mlpackage", from_coreml),
}


@pytest.mark.parametrize(("bits", "blocks"), [(4, 3), (8, 1)])
def test_four_runtimes_hold_the_same_integers_and_the_same_scales(
    bundles: dict[str, Path], bits: int, blocks: int
) -> None:
    held: dict[str, Held] = {
        target: read(bundles[target] / f"model.w{bits}.{ending}", bits)
        for target, (ending, read) in READERS.items()
    }
    codes, scales = held[JETSON]
    assert codes.shape == (ROWS, COLUMNS)
    assert scales.shape == (ROWS, blocks)
    assert len(np.unique(codes)) > (14 if bits == 4 else 200)
    for target, (other, its_scales) in held.items():
        assert np.array_equal(other, codes), target
        assert np.array_equal(its_scales, scales), target

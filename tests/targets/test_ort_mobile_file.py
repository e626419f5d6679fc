from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import TargetError
from edgekit.targets.ort_mobile.artifact_macs import count_macs
from edgekit.targets.ort_mobile.read_ort import read_ort
from edgekit.targets.ort_mobile.write_ort import canonical_ort, write_ort
from tests.models import toy_cnn
from tests.targets.ort_mobile_models import build, onnxruntime_graph, qdq_cnn

if TYPE_CHECKING:
    from pathlib import Path


def single(op: str, shape: tuple[int, ...], weights: dict[str, tuple[int, ...]], **attributes: Any) -> Any:
    rng = np.random.default_rng(0)
    values = [
        numpy_helper.from_array(rng.standard_normal(dims).astype(np.float32), name)
        for name, dims in weights.items()
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    node = helper.make_node(op, ["x", *weights], ["y"], "n", **attributes)
    graph = helper.make_graph([node], "g", [x], [y], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("model", "macs"),
    [
        # 2x2 stride of a 3x3 kernel over 8x8 padded by 1: 4x4 outputs, 6 channels, 4*9 each.
        (single("Conv", (1, 4, 8, 8), {"w": (6, 4, 3, 3)}, strides=[2, 2], pads=[1] * 4), 4 * 4 * 6 * 36),
        (single("Conv", (2, 4, 8, 8), {"w": (4, 1, 3, 3)}, group=4, pads=[1] * 4), 2 * 64 * 4 * 9),
        (single("Conv", (1, 3, 10), {"w": (5, 3, 3)}), 8 * 5 * 9),
        # Every input element meets every tap of 6 output channels.
        (single("ConvTranspose", (1, 4, 5, 5), {"w": (4, 6, 2, 2)}, strides=[2, 2]), 25 * 4 * 6 * 4),
        (single("MatMul", (2, 3, 7), {"w": (7, 5)}), 2 * 3 * 7 * 5),
        (single("Gemm", (3, 7), {"w": (5, 7), "b": (5,)}, transB=1), 3 * 7 * 5),
        (single("Gemm", (7, 3), {"w": (7, 5)}, transA=1), 3 * 7 * 5),
        # 6 steps, batch 2, 4 gates of 5 units, input 3 and 5 recurrent.
        (single("LSTM", (6, 2, 3), {"w": (1, 20, 3), "r": (1, 20, 5)}, hidden_size=5), 6 * 2 * 20 * 8),
        (single("Relu", (1, 2), {}), 0),
    ],
)
def test_macs_of_one_op_are_what_the_hand_counts(model: Any, macs: int, tmp_path: Path) -> None:
    counted = build(model, tmp_path, "fp32").macs
    assert counted is not None
    assert (counted.total, counted.int8) == (macs, 0)


def test_macs_are_unknown_rather_than_guessed(tmp_path: Path) -> None:
    model = single("Einsum", (3, 4), {"w": (4, 5)}, equation="ij,jk->ik")
    data = (tmp_path / build(model, tmp_path, "fp32").main).read_bytes()
    count = count_macs(data)
    # Either the runtime turned it into a MatMul, or its count is unknown and says so.
    assert (count.macs is None and "Einsum" in count.reason) or count.macs is not None


def test_the_canonical_file_says_what_onnxruntimes_file_said(tmp_path: Path) -> None:
    data = (tmp_path / build(qdq_cnn("u8"), tmp_path).main).read_bytes()
    graph = onnxruntime_graph(data)
    tree = read_ort(data)["model"]["graph"]
    assert [graph.Initializers(i).Name() for i in range(graph.InitializersLength())] == sorted(
        tensor["name"] for tensor in tree["initializers"]
    )
    for index, node in enumerate(tree["nodes"]):
        theirs = graph.Nodes(index)
        assert theirs.OpType() == node["op_type"]
        assert [theirs.Inputs(i) for i in range(theirs.InputsLength())] == node["inputs"]
        assert theirs.SinceVersion() == node["since_version"]
    for index, tensor in enumerate(tree["initializers"]):
        raw = graph.Initializers(index).RawDataAsNumpy()
        assert raw.tobytes() == tensor["raw_data"]


def test_writing_what_was_read_changes_nothing_and_canonical_is_a_fixed_point(tmp_path: Path) -> None:
    data = (tmp_path / build(toy_cnn(), tmp_path, "fp32").main).read_bytes()
    assert write_ort(read_ort(data)) == data
    assert canonical_ort(data) == data


def test_bytes_that_are_no_ort_file_are_refused(tmp_path: Path) -> None:
    data = (tmp_path / build(toy_cnn(), tmp_path, "fp32").main).read_bytes()
    with pytest.raises(TargetError, match=r"not in \.ort format"):
        read_ort(toy_cnn().SerializeToString())
    with pytest.raises(TargetError, match=r"not in \.ort format"):
        read_ort(b"")
    with pytest.raises(TargetError, match="damaged"):
        read_ort(data[: len(data) // 2])
    with pytest.raises(TargetError, match="damaged"):
        read_ort(data[:8] + b"\xff" * 64)

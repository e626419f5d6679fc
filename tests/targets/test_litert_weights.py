"""Integer weights in .tflite files: ONNX Runtime gives the numbers, the flatbuffer the codes and scales."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekit._qdq import WeightRounder, quantize_weights
from edgekit._values import MacShare
from edgekit.errors import UsageError
from edgekit.passes._rewire import constant_array
from edgekit.passes.serialize_model import serialize_model
from edgekit.targets.litert.artifact_macs import op_names, read_file
from edgekit.targets.litert.options import read_options
from edgekit.targets.litert.session import LiteRTSession
from edgekit.targets.litert.weight_forms import WEIGHT_FORMS
from tests.converted import sqnr_db
from tests.targets.litert_models import RNG, TARGET, job, model_of, prepared, reference

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edgekit._qdq import WeightsResult
    from edgekit._values import Artifact, Component, Precision
    from edgekit.targets.litert.session import Kernels

KERNELS: tuple[Kernels, ...] = ("xnnpack", "builtin", "reference")


def floats(*shape: int) -> NDArray[np.float32]:
    return RNG.standard_normal(shape).astype(np.float32)


def cnn() -> onnx.ModelProto:
    """Convolutions of every kind, a MatMul and a Gemm in blocks of 32, and a table of vectors."""
    nodes = [
        helper.make_node("Conv", ["x", "wc", "bc"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Conv", ["r", "wd"], ["d"], name="depthwise", group=32, pads=[3, 3, 3, 3]),
        helper.make_node("ConvTranspose", ["d", "wt"], ["t"], name="up", strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["t"], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "wm"], ["m"], name="matmul"),
        helper.make_node("Gemm", ["m", "wg", "bg"], ["h"], name="gemm", transB=1),
        helper.make_node("Gather", ["table", "ids"], ["e"], name="lookup"),
        helper.make_node("Add", ["h", "e"], ["y"], name="add"),
    ]
    weights = {
        "wc": floats(32, 16, 3, 3),
        "bc": floats(32),
        "wd": floats(32, 1, 7, 7),
        "wt": floats(32, 32, 2, 2),
        "wm": floats(32, 96),
        "wg": floats(64, 96),
        "bg": floats(64),
        "table": floats(50, 64),
    }
    model = model_of(nodes, {"x": [1, 16, 8, 8]}, weights)
    model.graph.input.append(helper.make_tensor_value_info("ids", TensorProto.INT64, [1]))
    return model


FEEDS: dict[str, Any] = {"x": floats(1, 16, 8, 8), "ids": np.array([-3], np.int64)}


def weighted(model: onnx.ModelProto, precision: Precision, block: int = 32) -> WeightsResult:
    return quantize_weights(
        prepared(model), WEIGHT_FORMS, precision=precision, rounder=WeightRounder(block=block)
    )


def written(component: Component, out: Path, precision: Precision = "fp32", **options: str) -> Artifact:
    given = {name.replace("_", "-"): value for name, value in options.items()}
    return TARGET.build([component], replace(job(precision), options=given), out)[0]


def check(got: dict[str, Any], want: dict[str, Any]) -> None:
    """Equal but for the order of float32 sums."""
    np.testing.assert_allclose(got["y"], want["y"], rtol=1e-4, atol=1e-4)


def truth(component: Component, feeds: dict[str, Any]) -> dict[str, Any]:
    return reference(onnx.load_from_string(serialize_model(component.model)), feeds)


@pytest.mark.parametrize(("precision", "block"), [("w8", 32), ("w4", 32), ("w4", 0)])
def test_restored_weights_compute_what_the_onnx_graph_says(
    precision: Precision, block: int, tmp_path: Path
) -> None:
    component = weighted(cnn(), precision, block).component
    artifact = written(component, tmp_path, precision)
    for kernels in KERNELS:
        session = LiteRTSession(tmp_path / artifact.main, kernels)
        first, second = session.run(FEEDS), session.run(FEEDS)
        assert sqnr_db(first, truth(component, FEEDS)) > 110, kernels
        assert np.array_equal(first["y"], second["y"])


@pytest.mark.parametrize(
    ("precision", "block", "kernels"),
    [
        ("w8", 32, KERNELS),
        ("w4", 0, KERNELS),
        ("w4", 32, KERNELS[:2]),  # the reference kernels compute blocks wrongly, see weight_kernels.toml
    ],
)
def test_dynamic_kernels_round_the_data_and_nothing_else(
    precision: Precision, block: int, kernels: tuple[Kernels, ...], tmp_path: Path
) -> None:
    component = weighted(cnn(), precision, block).component
    artifact = written(component, tmp_path, precision, weights="dynamic")
    for kernel in kernels:
        got = LiteRTSession(tmp_path / artifact.main, kernel).run(FEEDS)
        assert 30 < sqnr_db(got, truth(component, FEEDS)) < 60, kernel
    assert "quantize the float data to int8 on the fly" in " ".join(artifact.notes)


def test_dynamic_int4_leaves_to_float_what_no_kernel_takes(tmp_path: Path) -> None:
    artifact = written(weighted(cnn(), "w4", 0).component, tmp_path, "w4", weights="dynamic")
    assert op_names((tmp_path / artifact.main).read_bytes()).count("DEQUANTIZE") == 2
    assert "2 operators restore their integer weights and compute in float" in artifact.notes


@pytest.mark.parametrize(("precision", "kernels"), [("w8", "float"), ("w8", "dynamic"), ("w4", "dynamic")])
def test_weights_alone_are_no_int8_macs(precision: Precision, kernels: str, tmp_path: Path) -> None:
    convolutions = 32 * 16 * 9 * 64 + 32 * 49 * 64 + 64 * 32 * 32 * 4
    matrices = 32 * 96 + 96 * 64
    artifact = written(weighted(cnn(), precision).component, tmp_path, precision, weights=kernels)
    halves = (convolutions, matrices) if precision == "w4" else (convolutions + matrices, 0)
    expected = MacShare(0, convolutions + matrices, *halves)
    assert artifact.macs == expected
    assert expected.share == 0


@pytest.mark.parametrize(("least", "restored"), [(-8, 1), (-7, 0)])
def test_the_code_that_the_optimized_kernel_misreads_is_restored_to_float(
    least: int, restored: int, tmp_path: Path
) -> None:
    rows = np.random.default_rng(1).integers(least, 8, (64, 32)).astype(np.int8)
    rows[0, 0] = least
    scales = np.full(64, 0.01, np.float32)
    codes = helper.make_tensor("codes", TensorProto.INT4, (64, 32), rows.reshape(-1).tolist())
    nodes = [
        helper.make_node("DequantizeLinear", ["codes", "scales"], ["w"], axis=0),
        helper.make_node("Gemm", ["x", "w"], ["y"], transB=1, name="gemm"),
    ]
    model = model_of(nodes, {"x": [3, 32]}, {"scales": scales}, opset=21)
    model.graph.initializer.append(codes)
    model.ir_version = 10
    component = prepared(model)
    feeds = {"x": floats(3, 32)}
    want = {"y": feeds["x"] @ (rows * scales[:, None]).T}
    artifact = written(component, tmp_path, weights="dynamic")
    assert op_names((tmp_path / artifact.main).read_bytes()).count("DEQUANTIZE") == restored
    for kernels in KERNELS:
        assert sqnr_db(LiteRTSession(tmp_path / artifact.main, kernels).run(feeds), want) > 35


def test_codes_and_block_scales_in_the_file_are_those_of_the_graph(tmp_path: Path) -> None:
    model = model_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="mm")], {"x": [2, 64]}, {"w": floats(64, 48)}
    )
    component = weighted(model, "w4").component
    node = next(node for node in component.model.graph if node.op_type == "DequantizeLinear")
    codes, scales = (constant_array(value) for value in node.inputs)
    assert codes is not None
    assert scales is not None
    artifact = written(component, tmp_path, "w4", weights="dynamic")
    schema, file = read_file((tmp_path / artifact.main).read_bytes())
    tensors = file.subgraphs[0].tensors
    weights = next(item for item in tensors if item.type == schema.TensorType.INT4)
    packed = np.asarray(file.buffers[weights.buffer].data, np.uint8)
    low, high = (packed & 15).astype(np.int8), (packed >> 4).astype(np.int8)
    found = np.stack([low, high], axis=1).reshape(48, 64)
    assert np.array_equal(np.where(found > 7, found - 16, found), codes.astype(np.int8).T)
    details = weights.quantization.details
    assert details.blockSize == 32
    held = tensors[details.scales]
    assert held.type == schema.TensorType.FLOAT16
    in_file = np.asarray(file.buffers[held.buffer].data, np.uint8).view(np.float16).reshape(48, 2)
    assert np.array_equal(in_file.astype(np.float32), scales.T)


def test_weights_behind_the_flatbuffer_give_the_same_numbers(tmp_path: Path) -> None:
    component = prepared(cnn())
    (tmp_path / "inside").mkdir()
    inside = written(component, tmp_path / "inside")
    behind = written(component, tmp_path, inline_bytes="1000")
    schema, file = read_file((tmp_path / behind.main).read_bytes())
    del schema
    outside = [buffer for buffer in file.buffers if buffer.offset > 1]
    size = (tmp_path / behind.main).stat().st_size
    assert len(outside) == 9  # the eight weights and the depthwise convolution's zero bias
    assert all(buffer.data is None and buffer.offset % 64 == 0 for buffer in outside)
    assert max(buffer.offset + buffer.size for buffer in outside) == size
    for kernels in KERNELS:
        want = LiteRTSession(tmp_path / "inside" / inside.main, kernels).run(FEEDS)["y"]
        assert np.array_equal(LiteRTSession(tmp_path / behind.main, kernels).run(FEEDS)["y"], want)
    assert "lie behind the flatbuffer" in " ".join(behind.notes)
    assert behind.macs == inside.macs


def test_a_file_with_weights_behind_it_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    component = prepared(cnn())
    first = (tmp_path / written(component, tmp_path, inline_bytes="0").main).read_bytes()
    again = written(component, tmp_path, inline_bytes="0")
    assert (tmp_path / again.main).read_bytes() == first


def test_a_gemm_that_scales_is_not_taken_for_a_plain_one(tmp_path: Path) -> None:
    node = helper.make_node("Gemm", ["x", "w", "c"], ["y"], name="gemm", alpha=0.5, transB=1)
    model = model_of([node], {"x": [3, 64]}, {"w": floats(48, 64), "c": floats(48)})
    component = weighted(model, "w4").component
    artifact = written(component, tmp_path, "w4", weights="dynamic")
    feeds = {"x": floats(3, 64)}
    check(TARGET.open(artifact, tmp_path).run(feeds), truth(component, feeds))


@pytest.mark.parametrize("shape", [(48,), (1, 48), (1,), (48, 1), (48, 48)])
def test_a_gemms_bias_is_spread_as_onnx_says(shape: tuple[int, ...], tmp_path: Path) -> None:
    node = helper.make_node("Gemm", ["x", "w", "c"], ["y"], name="gemm")
    model = model_of([node], {"x": [48, 64]}, {"w": floats(64, 48), "c": floats(*shape)})
    component = weighted(model, "w8").component
    artifact = written(component, tmp_path, "w8")
    feeds = {"x": floats(48, 64)}
    check(TARGET.open(artifact, tmp_path).run(feeds), truth(component, feeds))


def test_a_convolution_in_one_dim_reads_integer_weights(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    component = weighted(model_of([node], {"x": [1, 16, 20]}, {"w": floats(32, 16, 3)}), "w8").component
    feeds = {"x": floats(1, 16, 20)}
    for kernels in ("float", "dynamic"):
        artifact = written(component, tmp_path, "w8", weights=kernels)
        least = 100 if kernels == "float" else 30
        assert sqnr_db(TARGET.open(artifact, tmp_path).run(feeds), truth(component, feeds)) > least


def test_a_convolution_in_three_dims_is_computed_in_float(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    component = weighted(
        model_of([node], {"x": [1, 4, 6, 6, 6]}, {"w": floats(16, 4, 3, 3, 3)}), "w8"
    ).component
    feeds = {"x": floats(1, 4, 6, 6, 6)}
    artifact = written(component, tmp_path, "w8", weights="dynamic")
    check(TARGET.open(artifact, tmp_path).run(feeds), truth(component, feeds))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": "float"}, "has no option 'weight'; did you mean 'weights'"),
        ({"weights": "dynamc"}, "litert.weights 'dynamc' is unknown; did you mean 'dynamic'"),
        ({"io-layout": "nchw"}, "litert.io-layout 'nchw' is unknown"),
        ({"inline-bytes": "-1"}, "litert.inline-bytes '-1' is no count of bytes"),
        ({"inline-bytes": "3000000000"}, "up to 2000000000"),
    ],
)
def test_an_option_that_makes_no_sense_is_wrong_usage(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_options(replace(job(), options=options))

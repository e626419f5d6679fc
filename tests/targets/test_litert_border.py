"""The file's border and its inside: io-layout=nhwc, names of tensors, and taps."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekit.passes.serialize_model import serialize_model
from edgekit.targets.litert.artifact_macs import op_names
from edgekit.targets.litert.name_tensors import read_order
from tests.converted import run
from tests.targets.litert_models import RNG, TARGET, Qdq, job, model_of, prepared, reference

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._values import Artifact, Component, Precision


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def written(component: Component, out: Path, precision: Precision = "fp32") -> Artifact:
    return TARGET.build([component], replace(job(precision), options={"io-layout": "nhwc"}), out)[0]


WEIGHTS = {"w": floats(16, 3, 3, 3), "v": floats(4, 16, 1, 1)}


def image_model() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["c"], ["s"], name="sigmoid"),
        helper.make_node("Conv", ["s", "v"], ["y"], name="last"),
    ]
    return model_of(nodes, {"x": [1, 3, 8, 10]}, WEIGHTS)


def test_an_image_goes_in_and_out_channels_last_without_a_transpose(tmp_path: Path) -> None:
    artifact = written(prepared(image_model()), tmp_path)
    assert artifact.layouts == {"x": "NHWC", "y": "NHWC"}
    assert "TRANSPOSE" not in op_names((tmp_path / artifact.main).read_bytes())
    session = TARGET.open(artifact, tmp_path)
    assert session.describe_inputs() == [("x", "float32", [1, 8, 10, 3])]  # type: ignore[attr-defined]  # LiteRT's own
    feeds = {"x": floats(1, 3, 8, 10)}
    got = session.run(feeds)
    np.testing.assert_allclose(got["y"], reference(image_model(), feeds)["y"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("nodes", "dims"),
    [
        ([helper.make_node("Relu", ["x"], ["y"])], [1, 3, 4, 5]),
        ([helper.make_node("Softmax", ["x"], ["y"], axis=3)], [2, 3, 4, 5]),
        ([helper.make_node("Identity", ["x"], ["y"])], [1, 3, 4, 5]),
        ([helper.make_node("GlobalAveragePool", ["x"], ["y"])], [1, 3, 4, 5]),
        ([helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2])], [1, 1, 4, 5]),
        ([helper.make_node("Transpose", ["x"], ["y"], perm=[0, 2, 3, 1])], [1, 3, 4, 5]),
        ([helper.make_node("Transpose", ["x"], ["y"], perm=[0, 3, 1, 2])], [1, 3, 4, 5]),
        ([helper.make_node("Flatten", ["x"], ["y"])], [1, 3, 4, 5]),
        (
            [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Add", ["c", "x"], ["y"])],
            [1, 3, 4, 5],
        ),
    ],
    ids=[
        "elementwise",
        "last axis",
        "nothing",
        "pool",
        "one channel",
        "to NHWC",
        "from NHWC",
        "flat",
        "read twice",
    ],
)
def test_whatever_stands_at_the_border_gives_the_same_numbers(
    nodes: list[onnx.NodeProto], dims: list[int], tmp_path: Path
) -> None:
    model = model_of(nodes, {"x": dims}, {"w": floats(3, 3, 1, 1)} if len(nodes) > 1 else {})
    artifact = written(prepared(model), tmp_path)
    feeds = {"x": floats(*dims)}
    session = TARGET.open(artifact, tmp_path)
    got, want = session.run(feeds), reference(model, feeds)
    assert got["y"].shape == want["y"].shape
    np.testing.assert_allclose(got["y"], want["y"], rtol=1e-5, atol=1e-6)


def test_the_integers_of_a_quantized_model_are_turned_too(tmp_path: Path) -> None:
    graph = Qdq()
    data = graph.pair("x", 0.02)
    weight, _ = graph.weight("w", floats(4, 3, 1, 1), 0)
    last = graph.pair(graph.op("Conv", [data, weight], "c"), 0.05)
    model = graph.model({"x": [1, 3, 6, 5]}, last)
    artifact = written(prepared(model), tmp_path, "int8")
    names = op_names((tmp_path / artifact.main).read_bytes())
    assert names == ["QUANTIZE", "CONV_2D", "DEQUANTIZE"]
    feeds = {"x": floats(1, 3, 6, 5)}
    got = TARGET.open(artifact, tmp_path).run(feeds)
    assert np.abs(got["y"] - reference(model, feeds)["y"]).max() <= 0.0501  # one step


def test_taps_are_the_sources_own_tensors_in_its_layout(tmp_path: Path) -> None:
    model = image_model()
    artifact = TARGET.build([prepared(model)], job(), tmp_path)[0]
    feeds = {"x": floats(1, 3, 8, 10)}
    whole = onnx.load_from_string(serialize_model(prepared(model).model))
    for name in ("c", "s"):
        whole.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    want = reference(whole, feeds)
    got = TARGET.open(artifact, tmp_path).run(feeds, taps=["c", "s", "never"])
    assert set(got) == {"c", "s", "y"}
    for name, expected in want.items():
        np.testing.assert_allclose(got[name], expected, rtol=1e-4, atol=1e-5)


def test_a_tap_of_an_integer_tensor_is_restored_to_float(tmp_path: Path) -> None:
    graph = Qdq()
    data = graph.pair("x", 0.02)
    weight, _ = graph.weight("w", floats(4, 3, 1, 1), 0)
    middle = graph.pair(graph.op("Conv", [data, weight], "c"), 0.05)
    model = graph.model(
        {"x": [1, 3, 6, 5]}, graph.pair(graph.op("AveragePool", [middle], "p", kernel_shape=[2, 2]), 0.05)
    )
    artifact = TARGET.build([prepared(model)], job("int8"), tmp_path)[0]
    feeds = {"x": floats(1, 3, 6, 5)}
    model.graph.output.append(helper.make_tensor_value_info("c/dq", onnx.TensorProto.FLOAT, None))
    want = reference(model, feeds)["c/dq"]
    got = TARGET.open(artifact, tmp_path).run(feeds, taps=["c"])["c"]
    assert got.dtype == np.float32
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 0.0501  # one step


@pytest.mark.parametrize(
    ("name", "order"),
    [("conv:0312", (0, 3, 1, 2)), ("conv:0", None), ("conv", None), ("a:12", None), ("a:0x", None)],
)
def test_an_order_is_read_from_a_name_only_where_it_is_one(name: str, order: tuple[int, ...] | None) -> None:
    assert read_order(name) == order


def test_a_bundle_holds_shapes_and_golden_data_in_the_files_layout(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(image_model().SerializeToString())
    words = (
        "convert",
        tmp_path / "m.onnx",
        "-t",
        "litert",
        "--option",
        "litert.io-layout=nhwc",
        "--no-cache",
    )
    result = run(*words, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    folder = tmp_path / "out" / "generic-litert"
    manifest = json.loads((folder / "manifest.json").read_text())
    component = manifest["components"][0]
    described = [(row["shape"], row["layout"]) for row in (*component["inputs"], *component["outputs"])]
    assert described == [([1, 8, 10, 3], "NHWC"), ([1, 8, 10, 4], "NHWC")]
    sample = component["golden"]["samples"][0]
    fed, expected = np.load(folder / sample["inputs"]["x"]), np.load(folder / sample["fp32"]["y"])
    want = reference(image_model(), {"x": np.ascontiguousarray(fed.transpose(0, 3, 1, 2))})["y"]
    np.testing.assert_allclose(expected.transpose(0, 3, 1, 2), want, rtol=1e-5, atol=1e-6)
    assert run("verify", folder).exit_code == 0

"""Inputs bound to a value: the model without them computes what the whole one does with that value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.errors import ModelError, UsageError
from edgekit.sources.bound_file import load_bound
from edgekit.sources.graph_io import inputs_of
from tests.converted import ORT, run
from tests.models import package_model, run_onnx

if TYPE_CHECKING:
    from pathlib import Path

X = np.array([[1, -2, 3]], np.float32)


@pytest.fixture
def scaled(tmp_path: Path) -> Path:
    """y = x * float(rate) over x [1, 3] and a scalar int64 `rate`."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["rate"], ["r"], "cast", to=1),
            helper.make_node("Mul", ["x", "r"], ["y"], "mul"),
        ],
        "scaled",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3]),
            helper.make_tensor_value_info("rate", TensorProto.INT64, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_bound_input_is_gone_and_its_value_is_computed_with(scaled: Path) -> None:
    component = load_bound(scaled, {"rate": "16000"})
    assert [info.name for info in inputs_of(component.model)] == ["x"]
    np.testing.assert_array_equal(run_onnx(component.model, {"x": X})["y"], X * 16000)


def test_nothing_bound_is_the_file_as_it_is(scaled: Path) -> None:
    assert load_bound(scaled, {}).source == scaled


@pytest.mark.parametrize(
    ("bind", "error", "words"),
    [
        ({"rat": "1"}, ModelError, "its inputs are 'x', 'rate'"),
        ({"rate": "fast"}, UsageError, "'fast' is no int64"),
        ({"rate": "1.5"}, UsageError, "'1.5' is no int64"),
        ({"rate": "99999999999999999999"}, UsageError, "no int64"),
        ({"rate": "1,2"}, ModelError, "shape"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(
    bind: dict[str, str], error: type[Exception], words: str, scaled: Path
) -> None:
    with pytest.raises(error, match=words):
        load_bound(scaled, bind)


def test_the_bundle_of_a_bound_model_says_so_and_another_value_is_another_bundle(
    scaled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(scaled.parent / "cache"))
    for rate in (2, 3):
        out = scaled.parent / f"out{rate}"
        result = run("convert", scaled, "-t", "ort-mobile", "--bind", f"rate={rate}", "-o", out)
        assert result.exit_code == 0, result.output
        assert f"input 'rate' is a constant, {rate}" in result.stdout
        np.testing.assert_array_equal(run_onnx(out / ORT / "model.fp32.ort", {"x": X})["y"], X * rate)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (256, "If 'If_0': all that could become INT8 lies in branches"),
        (576, "If 'If_0': ONNX Runtime refuses what is inside at these shapes"),  # the other rate's branch
    ],
)
def test_int8_of_branches_alone_names_the_input_to_bind(
    size: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    shapes = ["--shape", f"input=1,{size}", "--shape", "state=2,1,128", "--shape", "sr="]
    wish = ["-t", "ort-mobile", "--precision", "int8", "--samples", "random"]
    result = run("convert", package_model("silero"), *shapes, *wish, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert words in result.stderr
    assert "--bind sr=VALUE" in result.stderr
    assert not (tmp_path / "out").exists()

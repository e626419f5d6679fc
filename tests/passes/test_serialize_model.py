"""Models saved whole or with their weights beside them load again and compute the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest

from edgekit._values import Component
from edgekit.errors import ModelError
from edgekit.passes import serialize_model as module
from edgekit.passes.prepare_component import prepare_component
from edgekit.passes.serialize_model import save_model, serialize_model
from edgekit.sources.onnx_file import load_onnx
from tests.models import assert_same_outputs, run_onnx, toy_cnn

if TYPE_CHECKING:
    from pathlib import Path

FEEDS = {"x": np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)}


def test_a_small_model_is_one_file(tmp_path: Path) -> None:
    proto = toy_cnn()
    files = save_model(ir.from_proto(proto), tmp_path / "model.onnx")
    assert files == (tmp_path / "model.onnx",)
    assert_same_outputs(run_onnx(files[0], FEEDS), run_onnx(proto, FEEDS), rtol=0, atol=0)


def test_a_large_model_keeps_its_weights_beside_it_through_load_and_prepare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = toy_cnn()
    monkeypatch.setattr(module, "INLINE_LIMIT_BYTES", 100)
    files = save_model(ir.from_proto(proto), tmp_path / "model.onnx")
    assert [file.name for file in files] == ["model.onnx", "model.onnx.data"]
    assert_same_outputs(run_onnx(files[0], FEEDS), run_onnx(proto, FEEDS), rtol=0, atol=0)
    component = load_onnx(files[0])
    with pytest.raises(ModelError, match="one protobuf message holds"):
        serialize_model(component.model)
    monkeypatch.undo()
    prepared = prepare_component(Component("model", component.model, component.digest), shapes={})
    assert_same_outputs(run_onnx(prepared.model, FEEDS), run_onnx(proto, FEEDS))


def test_saving_twice_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INLINE_LIMIT_BYTES", 100)
    saved = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        files = save_model(ir.from_proto(toy_cnn()), tmp_path / name / "model.onnx")
        saved.append([file.read_bytes() for file in files])
    assert saved[0] == saved[1]

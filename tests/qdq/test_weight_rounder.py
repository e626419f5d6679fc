"""Integer weights are made once, and wait in a file where a model is large: the same numbers either way."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

import edgekit
from edgekit import _weight_shop
from edgekit._qdq import WeightRounder, quantize_weights
from edgekit._qdq.kept_codes import CodeFile
from edgekit._schemes import WeightForm
from edgekit.passes.serialize_model import serialize_model
from tests.converted import make_workspace
from tests.qdq.test_quantize_weights import ANY, component_of, run, weights_of

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._values import Component


def net() -> Component:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        helper.make_node("MatMul", ["h", "v"], ["y"], name="second"),
    ]
    return component_of(nodes, {"x": [3, 64]}, {"w": weights_of(64, 96), "v": weights_of(96, 33)})


@pytest.mark.parametrize("precision", ["w4", "w8"])
def test_codes_in_a_file_are_those_in_memory(precision: str, tmp_path: Path) -> None:
    component, x = net(), weights_of(3, 64)
    inside = quantize_weights(component, ANY, precision=precision)  # type: ignore[arg-type]  # a Precision
    rounder = WeightRounder(file=CodeFile(tmp_path / "codes"))
    filed = quantize_weights(component, ANY, precision=precision, rounder=rounder)  # type: ignore[arg-type]
    assert serialize_model(filed.component.model) == serialize_model(inside.component.model)
    assert np.array_equal(run(filed.component, {"x": x}), run(inside.component, {"x": x}))
    held = (64 * 96 + 96 * 33) // (2 if precision == "w4" else 1)
    assert (tmp_path / "codes" / "codes.bin").stat().st_size == held


def test_the_file_goes_with_the_rounder(tmp_path: Path) -> None:
    rounder = WeightRounder(file=CodeFile(tmp_path / "codes"))
    quantize_weights(net(), ANY, precision="w4", rounder=rounder)
    assert (tmp_path / "codes" / "codes.bin").exists()
    del rounder
    gc.collect()
    assert not (tmp_path / "codes").exists()


def test_the_next_target_gets_the_very_integers_and_rounds_only_what_is_new() -> None:
    component, rounder = net(), WeightRounder()
    first = quantize_weights(component, ANY, precision="w4", rounder=rounder)
    made = dict(rounder.made)
    channels = [WeightForm("MatMul", 8)]
    second = quantize_weights(component, ANY, precision="w4", rounder=rounder)
    assert serialize_model(second.component.model) == serialize_model(first.component.model)
    assert all(rounder.made[key] is kept for key, kept in made.items())
    quantize_weights(component, channels, precision="w8", rounder=rounder)
    assert len(rounder.made) == 2 * len(made)


def test_external_weights_are_rounded_as_those_inside(tmp_path: Path) -> None:
    component = net()
    path = tmp_path / "m.onnx"
    proto = ir.to_proto(component.model)
    onnx.save(proto, path, save_as_external_data=True, location="m.data", size_threshold=0)
    outside = component.__class__("m", ir.load(path), "digest")
    both = [quantize_weights(item, ANY, precision="w4").component.model for item in (component, outside)]
    assert serialize_model(both[0]) == serialize_model(both[1])


def test_a_convert_gives_the_same_bundle_with_and_without_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, digests = make_workspace(tmp_path), []
    for limit in (10**9, 10):
        monkeypatch.setattr(_weight_shop, "IN_MEMORY_BYTES", limit)
        made = edgekit.convert(
            work / "m.onnx",
            targets="litert",
            precisions="w8",
            output=work / str(limit),
            cache=work / f"cache{limit}",
        )
        digests.append(made.bundles[0].digest)
    assert digests[0] == digests[1]

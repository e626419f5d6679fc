"""Integer weights in ONNX files for TensorRT: which versions hold them, and what parses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekit._qdq import WeightRounder, quantize_weights
from edgekit._values import Component, MacShare
from edgekit.target import Job
from edgekit.targets.tensorrt import TensorRT
from edgekit.targets.tensorrt.op_table import table_for
from edgekit.targets.tensorrt.rtx_parser import parse_with_rtx
from edgekit.targets.tensorrt.weight_forms import weight_forms
from tests.converted import sqnr_db
from tests.targets.litert_models import RNG, model_of, prepared
from tests.targets.test_tensorrt_target import DEVICE

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._values import Gap, Precision

TARGET = TensorRT()


def model(columns: int = 48) -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="matmul"),
        helper.make_node("Gemm", ["m", "v"], ["y"], name="gemm"),
    ]
    weights = {
        "w": RNG.standard_normal((128, columns)).astype(np.float32),
        "v": RNG.standard_normal((columns, 64)).astype(np.float32),
    }
    return model_of(nodes, {"x": [3, 128]}, weights)


def weighted(source: onnx.ModelProto, precision: Precision, block: int = 32) -> Component:
    forms = weight_forms(table_for("10.1"))
    return quantize_weights(
        prepared(source), forms, precision=precision, rounder=WeightRounder(block=block)
    ).component


def job(precision: Precision, version: str = "10.3") -> Job:
    device = replace(DEVICE, software="it", versions={"it": {"tensorrt": version}})
    return Job(device, precision)


def errors(gaps: list[Gap]) -> list[Gap]:
    return [gap for gap in gaps if gap.severity == "error"]


@pytest.mark.parametrize(
    ("version", "bits"), [("8.6", {8}), ("9.3", {8}), ("10.0", {4, 8}), ("10.3", {4, 8}), ("10.15", {4, 8})]
)
def test_the_operator_table_says_which_version_holds_int4(version: str, bits: set[int]) -> None:
    assert {form.bits for form in weight_forms(table_for(version))} == bits


@pytest.mark.parametrize(("precision", "block"), [("w8", 32), ("w4", 32), ("w4", 64), ("w4", 128), ("w4", 0)])
def test_the_file_parses_and_computes_what_the_weights_say(
    precision: Precision, block: int, tmp_path: Path
) -> None:
    source = model()
    component = weighted(source, precision, block)
    assert not errors(TARGET.check([component], job(precision)))
    (artifact,) = TARGET.build([component], job(precision), tmp_path)
    assert parse_with_rtx(tmp_path / artifact.main) == []
    products = 3 * (128 * 48 + 48 * 64)
    int4 = {
        ("w4", 32): 3 * 128 * 48,
        ("w4", 64): 3 * 128 * 48,
        ("w4", 128): 3 * 128 * 48,
        ("w4", 0): products,
    }
    halves = int4.get((precision, block), 0)
    assert artifact.macs == MacShare(0, products, products - halves, halves)
    feeds: dict[str, Any] = {"x": RNG.standard_normal((3, 128)).astype(np.float32)}
    w, v = (onnx.numpy_helper.to_array(item) for item in source.graph.initializer)
    got = TARGET.open(artifact, tmp_path).run(feeds)
    assert sqnr_db(got, {"y": feeds["x"] @ w @ v}) > (35 if precision == "w8" else 10)


def test_an_opset_that_no_build_has_shown_is_a_warning() -> None:
    component = weighted(model(), "w4")
    told = [gap for gap in TARGET.check([component], job("w4", "10.1")) if "blocks of int4" in gap.rule]
    assert [gap.severity for gap in told] == ["warning"]
    assert not [gap for gap in TARGET.check([component], job("w4", "10.15")) if "blocks" in gap.rule]


@pytest.mark.parametrize(("version", "count"), [("10.1", 1), ("10.15", 0)])
def test_int4_with_an_odd_last_dim_is_refused_where_the_parser_does(version: str, count: int) -> None:
    component = weighted(model(columns=47), "w4")
    found = errors(TARGET.check([component], job("w4", version)))
    assert len(found) == count
    assert all("last dim of 47" in gap.rule and "--float" in gap.way_out for gap in found)

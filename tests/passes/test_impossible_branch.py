"""A branch that cannot run at the fixed shapes must not stop the one that can."""

from __future__ import annotations

from edgekit._values import DimRange
from edgekit.passes.prepare_component import prepare_component
from edgekit.sources.onnx_file import load_onnx
from tests.models import QUICK_SHAPES, assert_same_outputs, package_model, random_feeds, run_onnx


def test_silero_s_8_khz_branch_cannot_take_576_samples_and_its_16_khz_branch_runs() -> None:
    path = package_model("silero")
    shapes = {key: tuple(DimRange(dim, dim) for dim in dims) for key, dims in QUICK_SHAPES["silero"].items()}
    prepared = prepare_component(load_onnx(path), shapes=shapes)
    feeds = random_feeds(QUICK_SHAPES["silero"], path)
    assert_same_outputs(run_onnx(prepared.model, feeds), run_onnx(path, feeds))

"""W8A8: the saved program holds the calibration record's own scales and computes what the Q/DQ graph says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgekit._qdq import QdqForm, equalize_channels, insert_qdq, lift_component
from edgekit._schemes import PORTABLE, Scales
from edgekit.passes._rewire import constant_array
from edgekit.passes.expand_functions import expand_functions
from edgekit.targets.coreml.interpret.program import Operation, Ref
from tests.models import assert_same_outputs, run_onnx
from tests.qdq.test_qdq_models import prepared as source_of
from tests.qdq.test_qdq_models import record
from tests.targets.coreml_models import TARGET, Ask, Saved, build, open_saved, read_back
from tests.targets.litert_models import Qdq

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx

    from edgekit._values import Artifact, Component

    Make = Callable[[str, Ask], "Built"]

FP32 = Ask("int8", options={"compute": "fp32"})
FP16 = Ask("int8")
RESTORING = ("constexpr_affine_dequantize", "constexpr_blockwise_shift_scale")
CLAMPS = ("relu", "relu6", "clip")
MODELS = ("toy-cnn", "ppocr-cls", "ppocr-det")


@cache
def quantized(name: str) -> tuple[Component, Scales, dict[str, np.ndarray]]:
    """(the Q/DQ graph as a convert makes it, its scales, an input)."""
    component, feeds = source_of(name)
    plan = TARGET.plan([component], FP32.job)
    expand_functions(component.model, plan.expand)
    component = lift_component(component)
    component, ranges = equalize_channels(component, record(component, feeds))
    form = QdqForm(PORTABLE, plan.bias, plan.conv_output, plan.gemm_output)
    result = insert_qdq(component, ranges, form=form)
    return result.component, result.scales, feeds


@dataclass(frozen=True)
class Built:
    """One package on disk."""

    artifact: Artifact
    folder: Path

    @property
    def saved(self) -> Saved:
        return read_back(self.folder / self.artifact.main)

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return open_saved(self.artifact, self.folder).run(feeds)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Ask], Built]:
    """Builds each package once."""
    done: dict[str, Built] = {}

    def make(name: str, ask: Ask) -> Built:
        key = f"{name} {ask}"
        if key not in done:
            folder = tmp_path_factory.mktemp("package")
            done[key] = Built(build(quantized(name)[0], folder, ask), folder)
        return done[key]

    return make


@pytest.mark.parametrize("name", MODELS)
def test_in_float32_the_program_is_the_qdq_reference(name: str, built: Make) -> None:
    component, _, feeds = quantized(name)
    got = built(name, FP32).run(feeds)
    assert_same_outputs(got, run_onnx(component.model, feeds), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("ask", [FP32, FP16], ids=["fp32", "fp16"])
def test_every_scale_in_the_saved_file_is_the_records_own(name: str, ask: Ask, built: Make) -> None:
    component, scales, _ = quantized(name)
    saved = built(name, ask).saved
    found = {item.outputs[0].name.removesuffix("_cast_fp16"): item for item in saved.operations}
    pairs = [node for node in component.model.graph if node.op_type == "QuantizeLinear"]
    assert pairs
    for node in pairs:
        wanted = constant_array(node.inputs[1])
        operation = found[re.sub(r"\W", "_", str(node.outputs[0].name), flags=re.ASCII)]
        assert operation.type == "quantize"
        assert wanted is not None
        assert float(saved.value(operation, "scale")) == float(wanted)
        recorded = scales.tensors.get(str(node.inputs[0] and node.inputs[0].name))
        assert recorded is None or recorded.scale == float(wanted)
    stored = [item for item in saved.operations if item.type == "dequantize"]
    assert {float(saved.value(item, "scale")) for item in stored} <= {
        float(np.float32(params.scale)) for params in scales.tensors.values()
    }


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("ask", [FP32, FP16], ids=["fp32", "fp16"])
def test_every_quantized_convolution_is_dequantize_conv_quantize(name: str, ask: Ask, built: Make) -> None:
    saved = built(name, ask).saved
    makers = saved.makers()
    seen = 0
    for conv in (item for item in saved.operations if item.type == "conv"):
        assert maker_of(makers, conv, "x").type == "dequantize"
        weight = maker_of(makers, conv, "weight")
        assert weight.type in RESTORING
        assert weight_codes(saved, weight).dtype == np.int8
        readers = saved.users(conv.outputs[0].name)
        if readers[0].type in CLAMPS:  # one clamp between the two is the fused form
            readers = saved.users(readers[0].outputs[0].name)
        assert [item.type for item in readers] == ["quantize"]
        seen += 1
    assert seen == sum(node.op_type == "Conv" for node in quantized(name)[0].model.graph)


def maker_of(makers: dict[str, Operation], operation: Operation, parameter: str) -> Operation:
    given = operation.inputs[parameter][0]
    assert isinstance(given, Ref)
    return makers[given.name]


def weight_codes(saved: Saved, operation: Operation) -> Any:
    key = "quantized_data" if "quantized_data" in operation.inputs else "data"
    return np.asarray(saved.value(operation, key))


@pytest.mark.parametrize("name", MODELS)
def test_the_weights_of_the_file_are_the_graphs_own_codes_and_scales(name: str, built: Make) -> None:
    """Each convolution's integers and scales, found again by their bytes."""
    component, _, _ = quantized(name)
    saved = built(name, FP16).saved
    stored = {
        (weight_codes(saved, item).tobytes(), np.asarray(saved.value(item, "scale"), np.float32).tobytes())
        for item in saved.operations
        if item.type in RESTORING
    }
    convs = [node for node in component.model.graph if node.op_type == "Conv"]
    for conv in convs:
        weight = conv.inputs[1]
        restore = None if weight is None else weight.producer()
        assert restore is not None
        codes, scale = (constant_array(restore.inputs[index]) for index in (0, 1))
        assert codes is not None
        assert scale is not None
        assert (codes.tobytes(), scale.astype(np.float32).tobytes()) in stored


@pytest.mark.parametrize(("name", "least"), [("toy-cnn", 0.95), ("ppocr-cls", 0.9), ("ppocr-det", 0.9)])
def test_nearly_all_multiply_accumulates_are_int8_in_the_artifact(
    name: str, least: float, built: Make
) -> None:
    macs = built(name, FP16).artifact.macs
    assert macs is not None
    assert macs.share >= least


@pytest.mark.parametrize("name", ["toy-cnn", "ppocr-cls"])
def test_float16_between_the_integers_costs_little(name: str, built: Make) -> None:
    """The placement facts' budget: a few steps of the last quantizer."""
    component, _, feeds = quantized(name)
    got = built(name, FP16).run(feeds)
    for output, expected in run_onnx(component.model, feeds).items():
        np.testing.assert_allclose(got[output], expected, atol=0.05)


def test_ios_18_restores_weights_by_blocks_with_the_same_numbers(built: Make) -> None:
    made = built("toy-cnn", Ask("int8", software="ios-18", options={"compute": "fp32"}))
    assert "constexpr_blockwise_shift_scale" in made.saved.codes
    assert "constexpr_affine_dequantize" not in made.saved.codes
    component, _, feeds = quantized("toy-cnn")
    got = made.run(feeds)
    assert_same_outputs(got, run_onnx(component.model, feeds), rtol=1e-4, atol=1e-5)


def gemm(transposed: int) -> onnx.ModelProto:
    """x -> Q/DQ -> Gemm with int8 weights -> Q/DQ."""
    q, rng = Qdq(), np.random.default_rng(1)
    shape = (7, 16) if transposed else (16, 7)
    weight, scales = q.weight("w", rng.standard_normal(shape).astype(np.float32), 0 if transposed else 1)
    q.weights["b"] = (rng.integers(-50, 50, 7) * 0.03125 * scales).astype(np.float32)
    made = q.op("Gemm", [q.pair("x", 0.03125), weight, "b"], "made", transB=transposed)
    return q.model({"x": [5, 16]}, q.pair(made, 0.25))


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_gemm_keeps_its_integers_whichever_way_its_weight_lies(transposed: int, tmp_path: Path) -> None:
    model = gemm(transposed)
    feeds = {"x": np.random.default_rng(2).standard_normal((5, 16)).astype(np.float32)}
    artifact = build(model, tmp_path, FP32)
    assert artifact.macs is not None
    assert artifact.macs.share == 1.0
    assert_same_outputs(open_saved(artifact, tmp_path).run(feeds), run_onnx(model, feeds), rtol=1e-5)

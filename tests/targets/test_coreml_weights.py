"""Integer weights beside float data: restored by the saved program exactly as the graph says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from edgekit._qdq.quantize_weights import quantize_weights
from edgekit.targets.coreml.graph import Packed
from edgekit.targets.coreml.weight_forms import weight_forms
from tests.models import assert_same_outputs, run_onnx
from tests.targets.coreml_models import TARGET, Ask, build, errors_of, open_saved, prepared, read_back
from tests.targets.litert_models import model_of

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from edgekit._values import Component

RNG = np.random.default_rng(3)


def small(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def head(op: str, shape: list[int], weight: np.ndarray, **attributes: Any) -> onnx.ModelProto:
    return model_of([helper.make_node(op, ["x", "w"], ["y"], **attributes)], {"x": shape}, {"w": weight})


MODELS: dict[str, Any] = {
    "conv": lambda: head("Conv", [1, 32, 6, 6], small(8, 32, 3, 3)),
    "conv-transpose": lambda: head("ConvTranspose", [1, 32, 5, 5], small(32, 8, 3, 3), strides=[2, 2]),
    "gemm": lambda: head("Gemm", [3, 64], small(64, 48)),
    "gemm-transposed": lambda: head("Gemm", [3, 64], small(48, 64), transB=1),
    "matmul": lambda: head("MatMul", [2, 3, 64], small(64, 48)),
}


def quantized(model: onnx.ModelProto, ask: Ask) -> Component:
    component = prepared(model, ask)
    forms = TARGET.plan([component], ask.job).weights
    return quantize_weights(component, forms, precision=ask.precision).component


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("precision", "software", "restored_by", "counted"),
    [
        ("w8", "ios-16", "constexpr_affine_dequantize", "weight_int8"),
        ("w8", "ios-18", "constexpr_blockwise_shift_scale", "weight_int8"),
        ("w4", "ios-18", "constexpr_blockwise_shift_scale", "weight_int4"),
    ],
)
def test_weights_stay_integers_and_mean_the_same(  # noqa: PLR0917 - one case is one row
    name: str, precision: Any, software: str, restored_by: str, counted: str, tmp_path: Path
) -> None:
    ask = Ask(precision, software, {"compute": "fp32"})
    model = MODELS[name]()
    component = quantized(model, ask)
    artifact = build(component, tmp_path, ask)
    assert restored_by in read_back(tmp_path / artifact.main).codes
    assert artifact.macs is not None
    assert getattr(artifact.macs, counted) == artifact.macs.total > 0
    assert artifact.macs.int8 == 0
    x = small(*[dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim])
    got = open_saved(artifact, tmp_path).run({"x": x})
    assert_same_outputs(got, run_onnx(component.model, {"x": x}), rtol=1e-4, atol=1e-4)


def test_before_ios_18_four_bits_become_eight_a_channel() -> None:
    assert {form.bits for form in weight_forms(17)} == {8}
    assert {form.bits for form in weight_forms(18)} == {4, 8}
    assert weight_forms(15) == ()


def test_a_weight_by_blocks_on_an_old_target_names_the_one_it_needs() -> None:
    component = quantized(MODELS["gemm"](), Ask("w4", "ios-18"))
    model = ir.to_proto(component.model)
    (gap,) = errors_of(model, Ask("w4", "ios-17"))
    assert gap.op == "DequantizeLinear"
    assert "iOS 18 / macOS 15" in gap.rule


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_packed_weight_by_blocks_is_restored_the_same_after_a_transpose(order: tuple[int, int]) -> None:
    codes = RNG.integers(-8, 8, (4, 6)).astype(np.int8)
    scale = np.abs(small(4, 3))
    packed = Packed(codes, scale, RNG.integers(-2, 2, (4, 3)).astype(np.int8), 4)
    expected = (codes - np.repeat(packed.offset, 2, 1)) * np.repeat(scale, 2, 1)  # type: ignore[arg-type]
    np.testing.assert_allclose(packed.transpose(order).restore(), expected.transpose(order))

"""int4 weights on the HTP: what the Q/DQ graph holds, what Qualcomm's library computes, what is refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit._schemes import NATIVE_U8_S4, NATIVE_U16_S4, Scheme
from edgekit.errors import GapError, UsageError
from edgekit.targets.qnn.options import read_options
from tests.models import run_onnx
from tests.targets.qnn_models import TARGET, as_component, build, job, quantized

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._values import Precision

RNG = np.random.default_rng(6)
FEEDS = {"x": RNG.standard_normal((1, 16, 8, 8)).astype(np.float32)}


def net() -> onnx.ModelProto:
    """A convolution of 2304 weights, a depthwise one of 2304 and a small one of 256."""
    shapes = {"dense": (16, 16, 3, 3), "depthwise": (16, 1, 12, 12), "small": (16, 16, 1, 1)}
    rng = np.random.default_rng(7)
    weights = [
        numpy_helper.from_array((rng.standard_normal(shape) / 8).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "dense"], ["a"], "a", pads=[1] * 4),
        helper.make_node("Conv", ["a", "depthwise"], ["b"], "b", pads=[5, 5, 6, 6], group=16),
        helper.make_node("Conv", ["b", "small"], ["y"], "y"),
    ]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 16, 8, 8)) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("scheme", [NATIVE_U8_S4, NATIVE_U16_S4], ids=lambda scheme: scheme.name)
def test_the_htp_computes_on_int4_weights_what_the_qdq_graph_says(scheme: Scheme, tmp_path: Path) -> None:
    component = quantized(net(), scheme, FEEDS)
    activation = "u8" if scheme is NATIVE_U8_S4 else "u16"
    artifact = build(component, tmp_path, job(weights="int4", activation=activation))
    held = onnx.load(tmp_path / "model.int8.qdq.onnx")
    kinds = {row.name: row.data_type for row in held.graph.initializer if row.name.endswith("/integers")}
    assert kinds == {
        "dense/integers": TensorProto.INT4,
        "depthwise/integers": TensorProto.INT8,
        "small/integers": TensorProto.INT8,
    }
    want = run_onnx(component.model, FEEDS)["y"]
    got = TARGET.open(artifact, tmp_path).run(FEEDS)["y"]
    assert np.abs(got - want).max() < (0.03 if activation == "u8" else 0.001) * np.abs(want).max()
    assert any(note.startswith("1 weights are int4") for note in artifact.notes)
    macs = artifact.macs
    assert macs is not None
    # Each of the 16 x 8 x 8 outputs: 16 x 3 x 3 products on int4, and 12 x 12 and 16 on int8.
    dense, rest, outputs = 16 * 3 * 3, 12 * 12 + 16, 16 * 8 * 8
    on_4, on_8 = (macs.int8x4, macs.int8) if activation == "u8" else (macs.int16x4, macs.int16)
    assert (on_4, on_8, macs.total) == (dense * outputs, rest * outputs, (dense + rest) * outputs)
    assert macs.share == (on_8 / macs.total if activation == "u8" else 0)
    width = "int8" if activation == "u8" else "int16"
    words = "; ".join(macs.other_words())
    assert f"{width}x4 (" in words
    assert ("int16x8" in words) == (activation == "u16")


def test_int4_codes_are_the_weights_to_half_a_step() -> None:
    model = quantized(net(), NATIVE_U16_S4, FEEDS).model
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    values = {name: value.const_value for name, value in model.graph.initializers.items()}
    codes, scale = (np.asarray(values[f"dense/{part}"], np.float32) for part in ("integers", "scale"))
    weight = next(numpy_helper.to_array(row) for row in net().graph.initializer if row.name == "dense")
    steps = weight / scale.reshape(16, 1, 1, 1)
    assert np.abs(codes).max() == 7
    np.testing.assert_allclose(codes, np.clip(steps, -7, 7), atol=0.5001)


@pytest.mark.parametrize("option", ["weights=int4", "activation=u16"])
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"samples": "random", "scheme": "portable"}, "scheme 'portable' has none"),
        ({"precisions": "fp16"}, "only fp16 is made"),
        ({"precisions": ("fp16", "fp32"), "samples": "random"}, "only fp16, fp32 is made"),
        ({}, "only fp16 is made"),
    ],
)
def test_options_of_int8_that_nothing_would_heed_are_refused_before_calibration(
    option: str, words: dict[str, Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit._workshop import Workshop

    monkeypatch.setattr(Workshop, "record", None)  # whoever calibrates fails
    onnx.save(net(), tmp_path / "m.onnx")
    name, _, value = option.partition("=")
    given: Any = {"targets": "qnn", "options": {f"qnn.{name}": value}, "output": tmp_path / "out", **words}
    with pytest.raises(UsageError, match=told) as refused:
        edgekit.convert(tmp_path / "m.onnx", **given)
    assert f"qnn.{name}" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_check_without_samples_is_of_int8_and_takes_its_options(tmp_path: Path) -> None:
    onnx.save(net(), tmp_path / "m.onnx")
    assert not edgekit.check(tmp_path / "m.onnx", targets="qnn", options={"qnn.weights": "int4"})
    with pytest.raises(UsageError, match=r"qnn\.weights"):
        edgekit.check(tmp_path / "m.onnx", targets="qnn", precisions="fp16", options={"qnn.weights": "int4"})


@pytest.mark.parametrize("precision", ["w8", "w4"])
def test_integer_weights_beside_float_data_are_refused_with_the_option_that_is_nearest(
    precision: Precision, tmp_path: Path
) -> None:
    onnx.save(net(), tmp_path / "m.onnx")
    with pytest.raises(GapError) as refused:
        edgekit.convert(tmp_path / "m.onnx", targets="qnn", precisions=precision, output=tmp_path / "out")
    (gap,) = refused.value.gaps
    assert gap.op == precision
    (option,) = re.findall(r"--option qnn\.(\w+)=(\w+)", gap.way_out)
    assert read_options(job(**dict([option]))).weights == "int4"
    assert not (tmp_path / "out").exists()


def test_int4_weights_come_with_16_bit_activations_unless_8_are_asked_for() -> None:
    component = as_component(net())
    assert TARGET.plan([component], job(weights="int4")).scheme is NATIVE_U16_S4
    assert TARGET.plan([component], job(weights="int4", activation="u8")).scheme is NATIVE_U8_S4

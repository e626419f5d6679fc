"""The proof of one artifact, on ONNX Runtime for real and on sessions that misbehave."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit._values import Artifact, MacShare
from edgekit._verify import (
    Expected,
    Gate,
    Golden,
    GoldenSample,
    float_session,
    gate_for,
    make_golden,
    open_and_verify,
    random_feeds,
    reference_session,
    verify_artifact,
    with_worst,
    worst_tensors,
)
from edgekit.errors import CannotRunHere, GateError, ModelError, SamplesError


def f32(values: Any) -> Any:
    return np.asarray(values, np.float32)


def i8(values: Any) -> Any:
    return np.asarray(values, np.int8)


def i64(values: Any) -> Any:
    return np.asarray(values, np.int64)


def u8(values: Any) -> Any:
    return np.asarray(values, np.uint8)


if TYPE_CHECKING:
    from pathlib import Path

INT8 = Artifact("model", "int8", "m.onnx", ("m.onnx",), "test", macs=MacShare(9, 10), proves="all of it")
X = f32([[1.0, 2.0, 3.0, 4.0]])
Y = f32([[1.0, 2.0, 3.0, 5.0]])


@dataclass(frozen=True)
class OneSample:
    name: str
    feeds: dict[str, Any]


class Scripted:
    """A session that gives the listed outputs, one a run."""

    def __init__(self, *outputs: Any) -> None:
        self.outputs = list(outputs)

    def run(self, feeds: Any, taps: Any = ()) -> Any:
        return {"y": self.outputs.pop(0)}


def golden(fp32: Any = Y, reference: Any = None) -> Any:
    sample = GoldenSample({"x": X}, {"y": fp32}, None if reference is None else {"y": reference})
    return Golden("model", "samples", (sample,))


def toy_model(qdq_scale: Any = None) -> Any:
    """y = relu(x W) V; with a scale, h = x W goes through Q/DQ first."""
    weights = np.random.default_rng(0)
    tensors = [
        numpy_helper.from_array(weights.standard_normal((4, 8)).astype(np.float32), "W"),
        numpy_helper.from_array(weights.standard_normal((8, 3)).astype(np.float32), "V"),
    ]
    nodes = [helper.make_node("MatMul", ["x", "W"], ["h"], "first")]
    source = "h"
    if qdq_scale:
        tensors += [
            numpy_helper.from_array(f32(qdq_scale), "s"),
            numpy_helper.from_array(i8(0), "z"),
        ]
        nodes += [
            helper.make_node("QuantizeLinear", ["h", "s", "z"], ["hq"], "q"),
            helper.make_node("DequantizeLinear", ["hq", "s", "z"], ["hd"], "dq"),
        ]
        source = "hd"
    nodes += [
        helper.make_node("Relu", [source], ["r"], "act"),
        helper.make_node("MatMul", ["r", "V"], ["y"], "second"),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def test_an_artifact_that_equals_fp32_passes() -> None:
    parity = verify_artifact(Scripted(Y, Y), INT8, golden=golden(), gate=gate_for("int8"))
    assert parity.passed
    assert (parity.samples, parity.status, parity.reason) == (1, "proven", "all of it")
    assert parity.against_fp32[0].sqnr_db == math.inf
    assert parity.macs == MacShare(9, 10)


def test_a_second_run_that_differs_in_one_bit_fails() -> None:
    second = Y.copy()
    second[0, 0] = np.nextafter(second[0, 0], f32(9))
    parity = verify_artifact(Scripted(Y, second), INT8, golden=golden(), gate=gate_for("int8"))
    assert not parity.runs_equal
    assert not parity.passed
    assert "second run" in parity.gate_failures[0]


def test_negative_zero_is_another_bit_pattern() -> None:
    zero = np.zeros_like(Y)
    parity = verify_artifact(Scripted(zero, -zero), INT8, golden=golden(zero), gate=gate_for("int8"))
    assert not parity.runs_equal


def test_a_runtime_that_reuses_its_output_buffer_is_not_believed() -> Any:
    class Reusing:
        def __init__(self) -> None:
            self.buffer, self.runs = np.zeros_like(Y), 0

        def run(self, feeds: Any, taps: Any = ()) -> Any:
            self.buffer[:] = Y + self.runs
            self.runs += 1
            return {"y": self.buffer}

    parity = verify_artifact(Reusing(), INT8, golden=golden(), gate=gate_for("int8"))
    assert not parity.runs_equal
    assert parity.against_fp32[0].max_abs == 0.0


def test_a_session_that_writes_into_its_inputs_does_not_spoil_the_golden_data() -> Any:
    class Spoiling:
        def run(self, feeds: Any, taps: Any = ()) -> Any:
            result = feeds["x"] * 2
            feeds["x"] += 1
            return {"y": result}

    data = golden(X * 2)
    kept = X.copy()
    assert verify_artifact(Spoiling(), INT8, golden=data, gate=gate_for("int8")).passed
    np.testing.assert_array_equal(X, kept)


def test_a_nan_output_fails_under_any_gate() -> None:
    broken = np.full_like(Y, np.nan)
    parity = verify_artifact(Scripted(broken, broken), INT8, golden=golden(), gate=Gate())
    assert parity.runs_equal
    assert not parity.passed


def test_reference_outputs_are_compared_for_int8_only() -> None:
    data = golden(reference=Y)
    loose = gate_for("int8", {"min_sqnr_db": None, "min_top1": None})
    int8 = verify_artifact(Scripted(-Y, -Y), INT8, golden=data, gate=loose)
    assert len(int8.gate_failures) == 1
    assert "Q/DQ reference" in int8.gate_failures[0]
    # -Y against Y: the difference has four times the signal's power
    assert int8.against_reference[0].sqnr_db == pytest.approx(-10 * math.log10(4))
    half = Artifact("model", "fp16", "m.onnx", ("m.onnx",), "test")
    assert verify_artifact(Scripted(Y, Y), half, golden=data, gate=gate_for("fp16")).against_reference == ()


def test_no_golden_sample_is_no_proof() -> None:
    empty = Golden("model", "samples", ())
    parity = verify_artifact(Scripted(), INT8, golden=empty, gate=gate_for("int8"))
    assert not parity.passed


def test_a_missing_output_and_another_shape_are_refused() -> None:
    data = Golden("model", "samples", (GoldenSample({"x": X}, {"z": Y}),))
    with pytest.raises(GateError, match="no output 'z'"):
        verify_artifact(Scripted(Y, Y), INT8, golden=data, gate=gate_for("int8"))
    with pytest.raises(GateError, match="shape"):
        verify_artifact(Scripted(Y[0], Y[0]), INT8, golden=golden(), gate=gate_for("int8"))


def test_what_cannot_run_here_is_unproven_and_has_not_passed(tmp_path: Path) -> None:
    class Elsewhere:
        def open(self, artifact: Any, folder: Any) -> None:
            raise CannotRunHere("needs a Jetson", fix="run it there")

    elsewhere: Any = Elsewhere()
    parity = open_and_verify(elsewhere, INT8, folder=tmp_path, golden=golden(), gate=gate_for("int8"))
    assert (parity.status, parity.reason) == ("unproven", "needs a Jetson; run it there")
    assert parity.against_fp32 == ()
    assert not parity.passed


def test_what_other_kernels_miss_fails_the_proof_and_names_them(tmp_path: Path) -> None:
    class TwoKernels:
        def open(self, artifact: Any, folder: Any) -> Any:
            return Scripted(Y, Y)

        def open_others(self, artifact: Any, folder: Any) -> Any:
            return {"exact kernels": Scripted(Y, Y), "odd kernels": Scripted(-Y, -Y)}

    kernels: Any = TwoKernels()
    parity = open_and_verify(kernels, INT8, folder=tmp_path, golden=golden(), gate=gate_for("int8"))
    assert parity.against_fp32[0].sqnr_db == math.inf
    assert not parity.passed
    assert {line.split(":")[0] for line in parity.gate_failures} == {"odd kernels"}


def test_golden_outputs_are_those_of_the_onnx_reference_evaluator(tmp_path: Path) -> None:
    path = tmp_path / "toy.onnx"
    onnx.save(toy_model(), path)
    expected = Expected(float_session(path), reference_session(ir.from_proto(toy_model(0.05))))
    made = make_golden("model", [OneSample("a", {"x": X})], expected=expected, kind="samples")
    sample = made.samples[0]
    first, second = (numpy_helper.to_array(tensor) for tensor in toy_model().graph.initializer)
    np.testing.assert_allclose(sample.fp32["y"], np.maximum(X @ first, 0) @ second, rtol=1e-5)
    rounded = np.clip(np.rint(X @ first / f32(0.05)), -128, 127) * f32(0.05)
    assert sample.reference is not None
    np.testing.assert_allclose(sample.reference["y"], np.maximum(rounded, 0) @ second, rtol=1e-5)


def test_only_the_first_samples_are_taken() -> None:
    expected = Expected(float_session(ir.from_proto(toy_model())))
    samples = (OneSample(str(index), {"x": X * index}) for index in range(1, 10))
    assert len(make_golden("model", samples, expected=expected, kind="samples").samples) == 4
    assert next(iter(samples)).name == "5"


def test_no_sample_nan_and_a_missing_input_are_refused() -> None:
    expected = Expected(float_session(ir.from_proto(toy_model())))
    with pytest.raises(SamplesError, match="no sample"):
        make_golden("model", [], expected=expected, kind="samples")
    with pytest.raises(SamplesError, match="holds NaN"):
        make_golden("model", [OneSample("a", {"x": X * np.nan})], expected=expected, kind="samples")
    with pytest.raises(SamplesError, match="no input 'x'"):
        make_golden("model", [OneSample("a", {"w": X})], expected=expected, kind="samples")
    with pytest.raises(SamplesError, match="does not run"):
        make_golden("model", [OneSample("a", {"x": X[:, :2]})], expected=expected, kind="samples")


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"broken\.onnx"):
        float_session(path)


def test_random_feeds_keep_shape_dtype_and_range_and_repeat() -> None:
    feeds = {
        "f": f32([[-2.0, 5.0, -np.inf]]),
        "i": i64([3, 9, 4]),
        "b": np.array([True, False]),
        "u": u8([0, 255]),
    }
    noise, again = random_feeds(feeds, seed=7), random_feeds(feeds, seed=7)
    for name, array in feeds.items():
        assert (noise[name].shape, noise[name].dtype) == (array.shape, array.dtype)
        np.testing.assert_array_equal(noise[name], again[name])
    assert noise["f"].min() >= -2.0
    assert noise["f"].max() <= 5.0
    assert set(noise["i"]) <= set(range(3, 10))


def test_worst_tensors_are_ranked_by_sqnr_and_name_their_node() -> None:
    plain, coarse = ir.from_proto(toy_model()), ir.from_proto(toy_model(1.0))
    found = worst_tensors(plain, coarse, [{"x": X}], tensors=["x", "h", "r", "y"])
    assert {worst.tensor for worst in found} == {"h", "r", "y"}
    assert found[-1].tensor == "h"
    assert found[-1].sqnr_db == math.inf
    by_name = {worst.tensor: worst for worst in found}
    first = numpy_helper.to_array(toy_model().graph.initializer[0])
    exact, rounded = np.maximum(X @ first, 0), np.maximum(np.clip(np.rint(X @ first), -128, 127), 0)
    sqnr = 10 * np.log10((exact.astype(float) ** 2).sum() / ((exact - rounded).astype(float) ** 2).sum())
    assert by_name["r"].sqnr_db == pytest.approx(sqnr, abs=1e-3)
    assert (by_name["r"].node, by_name["r"].op) == ("act", "Relu")
    assert len(plain.graph.outputs) == 1
    assert len(worst_tensors(plain, coarse, [{"x": X}], tensors=["h", "r", "y"], most=1)) == 1
    parity = verify_artifact(Scripted(Y, Y), INT8, golden=golden(), gate=gate_for("int8"))
    named = with_worst(parity, [by_name["r"]]).worst_tensors
    assert named == (("act", by_name["r"].sqnr_db),)


def test_a_tensor_that_only_one_model_has_is_refused() -> None:
    plain, coarse = ir.from_proto(toy_model()), ir.from_proto(toy_model(1.0))
    with pytest.raises(ModelError, match="hq"):
        worst_tensors(plain, coarse, [{"x": X}], tensors=["hq"])


def test_random_golden_data_hold_nothing_of_the_samples_but_their_range() -> None:
    expected = Expected(float_session(ir.from_proto(toy_model())))
    made = make_golden("model", [OneSample("a", {"x": X})], expected=expected, kind="random")
    noise = made.samples[0].feeds["x"]
    assert made.kind == "random"
    assert noise.shape == X.shape
    assert not np.isin(noise, X).any()
    assert X.min() <= noise.min() <= noise.max() <= X.max()


def test_weights_outside_the_models_folder_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(4 * 8 * 4))
    model = toy_model()
    for location in ("../secret.bin", str(tmp_path / "secret.bin")):
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        del weight.external_data[:]
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=location)
        path = tmp_path / "inside" / "m.onnx"
        path.write_bytes(model.SerializeToString())
        with pytest.raises(ModelError, match="does not load"):
            float_session(path)

"""An artifact that is the file of the Q/DQ reference: its proof goes on in the session that gave that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import numpy_helper

import edgekit
from edgekit._verify import (
    Expected,
    Golden,
    OrtSession,
    RememberedSession,
    float_session,
    gate_for,
    make_golden,
    resume,
    verify_artifact,
)
from edgekit.passes.serialize_model import save_model, serialize_model
from tests.models import toy_cnn
from tests.test_verify_artifact import INT8, OneSample, X, toy_model

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from edgekit._values import Artifact
    from edgekit._verify.remembered import ResumedSession


class Counting(OrtSession):
    """The Q/DQ reference, counting its runs; from the second on, `drift` is added to what it gives."""

    def __init__(self, drift: float = 0.0) -> None:
        super().__init__(serialize_model(ir.from_proto(toy_model(0.02))), name="toy")
        self.drift, self.runs = np.float32(drift), 0

    def run(self, feeds: Any, taps: Any = ()) -> Any:
        self.runs += 1
        outputs = super().run(feeds, taps)
        return outputs if self.runs == 1 else {name: array + self.drift for name, array in outputs.items()}


def remember(session: Counting) -> tuple[RememberedSession, Golden]:
    """The session's memory, and golden data of one sample that it gave the reference of."""
    memory = RememberedSession(session, {})
    expected = Expected(float_session(ir.from_proto(toy_model())), memory)
    return memory, make_golden("model", [OneSample("a", {"x": X})], expected=expected, kind="samples")


def resumed(memory: RememberedSession, folder: Path) -> ResumedSession:
    """What proves a file of the same bytes."""
    path, *_ = save_model(ir.from_proto(toy_model(0.02)), folder / "m.onnx")
    session = resume(memory, path)
    assert session is not None
    return session


def test_the_run_that_gave_the_reference_is_the_first_of_the_two_that_prove_the_file(tmp_path: Path) -> None:
    counting = Counting()
    memory, golden = remember(counting)
    session = resumed(memory, tmp_path)
    parity = verify_artifact(session, INT8, golden=golden, gate=gate_for("int8"))
    assert counting.runs == 2
    assert parity.runs_equal
    (truth,) = ort.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"]).run(
        None, {"x": X}
    )
    noise = parity.against_fp32[0].max_abs
    assert np.isclose(noise, np.abs(truth - golden.samples[0].fp32["y"]).max(), rtol=1e-4)


def test_what_the_resumed_session_runs_itself_is_not_kept(tmp_path: Path) -> None:
    """A task metric runs every sample through it: their outputs would all stay in memory."""
    counting = Counting()
    memory, golden = remember(counting)
    session = resumed(memory, tmp_path)
    others = [{"x": X + np.float32(number)} for number in range(3)]
    for feeds in (golden.samples[0].feeds, *others):
        session.run(feeds)
    assert (counting.runs, len(memory.known)) == (4, 1)


def test_a_second_run_that_differs_is_noticed(tmp_path: Path) -> None:
    memory, golden = remember(Counting(drift=1e-6))
    session = resumed(memory, tmp_path)
    parity = verify_artifact(session, INT8, golden=golden, gate=gate_for("int8"))
    assert not parity.runs_equal
    assert not parity.passed


def test_a_file_that_differs_in_one_weight_is_another_file(tmp_path: Path) -> None:
    memory, _ = remember(Counting())
    model = toy_model(0.02)
    weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight[0, 0] = np.nextafter(weight[0, 0], np.float32(9))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "W"))
    path, *_ = save_model(ir.from_proto(model), tmp_path / "m.onnx")
    assert resume(memory, path) is None


def test_a_convert_opens_no_session_of_the_int8_file_that_is_its_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.targets.tensorrt import TensorRT

    opened: list[str] = []
    plain = TensorRT.open

    def open_counted(self: TensorRT, artifact: Artifact, folder: Path) -> Any:
        opened.append(artifact.variant)
        return plain(self, artifact, folder)

    monkeypatch.setattr(TensorRT, "open", open_counted)
    source = tmp_path / "m.onnx"
    onnx.save(toy_cnn(), source)
    feeds = np.random.default_rng(1).standard_normal((8, 3, 16, 16)).astype(np.float32)
    np.save(tmp_path / "x.npy", feeds)
    made = edgekit.convert(
        source,
        targets=["jetson-orin"],
        precisions="int8",
        samples=tmp_path / "x.npy",
        output=tmp_path / "out",
        cache=tmp_path / "cache",
    )
    assert sorted(opened) == ["fp16", "fp32"]
    parity = next(one for one in made.bundles[0].parities if one.variant == "int8")
    assert (parity.status, parity.runs_equal, parity.samples) == ("proven", True, 4)
    again = edgekit.verify(made.bundles[0].folder)
    assert "int8" in opened
    assert [one.against_fp32 for one in again.parities if one.variant == "int8"] == [parity.against_fp32]

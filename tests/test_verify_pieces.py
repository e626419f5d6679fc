"""A model run piece by piece gives what one session gives, with the weights of one piece at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit._verify import (
    Expected,
    OrtSession,
    PiecewiseSession,
    float_session,
    make_golden,
    pieces,
    sessions,
)
from edgekit.calibration.open_session import OpenSession, open_once
from edgekit.calibration.samples import Sample
from edgekit.errors import SamplesError

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(2)


def net() -> onnx.ModelProto:
    """A chain with a skip over it, an If that reads from outside, and a tensor read twice."""
    weights = {f"w{i}": RNG.standard_normal((32, 32)).astype(np.float32) for i in range(6)}
    branches: dict[str, Any] = {
        name: helper.make_graph(
            [helper.make_node(op, ["m2", "m0"], ["out"], name=f"{name}/{op}")],
            name,
            [],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        )
        for name, op in (("then_branch", "Add"), ("else_branch", "Sub"))
    }
    nodes = [
        helper.make_node("MatMul", ["x" if i == 0 else f"m{i - 1}", f"w{i}"], [f"m{i}"]) for i in range(6)
    ]
    nodes[3].input[0] = "chosen"
    nodes.insert(3, helper.make_node("If", ["flag"], ["chosen"], **branches))
    nodes.append(helper.make_node("Add", ["m5", "m0"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 32]),
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
        ],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("m1", TensorProto.FLOAT, None),
        ],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("piece_bytes", [1, 4096, 9000, 10**9])
@pytest.mark.parametrize("flag", [True, False])
def test_pieces_give_what_one_session_gives(piece_bytes: int, flag: bool) -> None:
    model = net()
    feeds: dict[str, Any] = {"x": RNG.standard_normal((4, 32)).astype(np.float32), "flag": np.array(flag)}
    whole = OrtSession(model.SerializeToString(), name="whole").run(feeds)
    session = PiecewiseSession(ir.from_proto(model), piece_bytes=piece_bytes)
    for _ in range(2):
        parts = session.run(feeds)
        assert list(parts) == ["y", "m1"]
        for name, array in whole.items():
            np.testing.assert_allclose(parts[name], array, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("piece_bytes", [1, 9000])
def test_samples_of_any_size_run_together_as_each_by_itself(piece_bytes: int) -> None:
    model = net()
    samples: list[dict[str, Any]] = [
        {"x": RNG.standard_normal((n, 32)).astype(np.float32), "flag": np.array(flag)}
        for n, flag in ((4, True), (7, False), (1, True))
    ]
    whole = OrtSession(model.SerializeToString(), name="whole")
    together = PiecewiseSession(ir.from_proto(model), piece_bytes=piece_bytes).run_all(samples)
    for feeds, got in zip(samples, together, strict=True):
        for name, array in whole.run(feeds).items():
            np.testing.assert_allclose(got[name], array, rtol=1e-5, atol=1e-4)


def test_weights_are_read_once_for_all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[ir.Model] = []

    def count(model: ir.Model) -> OpenSession:
        opened.append(model)
        return open_once(model)

    monkeypatch.setattr(pieces, "open_once", count)
    feeds: dict[str, Any] = {"x": np.ones((4, 32), np.float32), "flag": np.array(1, bool)}
    session = PiecewiseSession(ir.from_proto(net()), piece_bytes=9000)
    session.run(feeds)
    once = len(opened)
    make_golden("g", [Sample(str(n), feeds) for n in range(3)], expected=Expected(session), kind="samples")
    assert len(opened) == 2 * once


def test_external_weights_are_read_from_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(net(), path, save_as_external_data=True, location="m.data", size_threshold=0)
    model = ir.load(path)
    feeds: dict[str, Any] = {"x": RNG.standard_normal((4, 32)).astype(np.float32), "flag": np.array(1, bool)}
    whole = float_session(path, model)
    monkeypatch.setattr(sessions, "WHOLE_BYTES", 1000)
    parts = float_session(path, model)
    assert isinstance(whole, OrtSession)
    assert isinstance(parts, PiecewiseSession)
    np.testing.assert_allclose(parts.run(feeds)["y"], whole.run(feeds)["y"], rtol=1e-5, atol=1e-4)


def test_a_sample_that_does_not_fit_is_refused() -> None:
    session = PiecewiseSession(ir.from_proto(net()), piece_bytes=1)
    with pytest.raises(SamplesError, match="no input 'flag'"):
        session.run({"x": np.zeros((4, 32), np.float32)})
    with pytest.raises(SamplesError, match="does not run on the sample"):
        session.run({"x": np.zeros((4, 31), np.float32), "flag": np.array(1, bool)})

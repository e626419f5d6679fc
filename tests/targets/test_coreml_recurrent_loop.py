"""Recurrent layers with more steps than are written out: one loop, the numbers of ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import helper

from tests.models import assert_same_outputs, run_onnx
from tests.targets.coreml_models import Ask, build, open_saved, read_back
from tests.targets.litert_models import model_of

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

RNG = np.random.default_rng(83)
STEPS, BATCH, WIDTH, HIDDEN = 9, 2, 5, 4
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}


def small(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) / 2).astype(np.float32)


def recurrent(op: str, direction: str, **attributes: Any) -> onnx.ModelProto:
    """x -> all hidden states, the last one (and cell), from an initial state; an LSTM has peepholes."""
    ways, rows = (2 if direction == "bidirectional" else 1), GATES[op] * HIDDEN
    weights = {"w": small(ways, rows, WIDTH), "r": small(ways, rows, HIDDEN), "b": small(ways, 2 * rows)}
    weights["h"] = small(ways, BATCH, HIDDEN)
    names = ["x", "w", "r", "b", "", "h"]
    if op == "LSTM":
        weights |= {"c": small(ways, BATCH, HIDDEN), "p": small(ways, 3 * HIDDEN)}
        names += ["c", "p"]
    results = ["y", "last", "cell"][: 3 if op == "LSTM" else 2]
    node = helper.make_node(op, names, results, "n", direction=direction, hidden_size=HIDDEN, **attributes)
    model = model_of([node], {"x": [STEPS, BATCH, WIDTH]}, weights)
    model.graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in results[1:])
    return model


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("op", "attributes"),
    [("GRU", {"linear_before_reset": 1}), ("GRU", {}), ("RNN", {}), ("LSTM", {})],
    ids=["gru, reset behind the product", "gru", "rnn", "lstm with peepholes"],
)
def test_a_loop_computes_what_onnx_does(
    op: str, attributes: dict[str, Any], direction: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.targets.coreml.rules.recurrent._MOST_STEPS", 2)
    model = recurrent(op, direction, **attributes)
    artifact = build(model, tmp_path)
    codes = read_back(tmp_path / artifact.main).codes
    ways = 2 if direction == "bidirectional" else 1
    assert codes.count("while_loop") == ways
    rows = GATES[op] * HIDDEN
    assert artifact.macs is not None
    assert artifact.macs.total == ways * STEPS * BATCH * rows * (WIDTH + HIDDEN)  # both products of each step
    feeds = {"x": small(STEPS, BATCH, WIDTH)}
    got = open_saved(artifact, tmp_path).run(feeds)
    assert_same_outputs(got, run_onnx(model, feeds), rtol=1e-4, atol=1e-5)


def test_a_loop_in_float16_stays_near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.targets.coreml.rules.recurrent._MOST_STEPS", 2)
    model = recurrent("GRU", "bidirectional", linear_before_reset=1)
    artifact = build(model, tmp_path, Ask("fp16"))
    feeds = {"x": small(STEPS, BATCH, WIDTH)}
    got = open_saved(artifact, tmp_path).run(feeds)
    assert_same_outputs(got, run_onnx(model, feeds), rtol=5e-3, atol=5e-3)


def test_three_hundred_steps_are_one_loop(tmp_path: Path) -> None:
    weights = {"w": small(1, 3 * HIDDEN, WIDTH), "r": small(1, 3 * HIDDEN, HIDDEN)}
    node = helper.make_node("GRU", ["x", "w", "r"], ["y"], "n", hidden_size=HIDDEN)
    model = model_of([node], {"x": [300, 1, WIDTH]}, weights)
    artifact = build(model, tmp_path)
    assert len(read_back(tmp_path / artifact.main).codes) < 60
    feeds = {"x": small(300, 1, WIDTH)}
    got = open_saved(artifact, tmp_path).run(feeds)
    assert_same_outputs(got, run_onnx(model, feeds), rtol=1e-4, atol=1e-5)

"""The ways in which exporters write a hard swish, each one operator of LiteRT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from edgekit.targets.litert.artifact_macs import op_names
from edgekit.targets.litert.session import LiteRTSession
from tests.targets.litert_models import build, model_of, prepared, reference

if TYPE_CHECKING:
    from pathlib import Path

node = onnx.helper.make_node
NUMBERS = {"three": np.float32(3), "low": np.float32(0), "six": np.float32(6)}
CHANNELS = np.array([1, -2, 0.5, 3], np.float32).reshape(4, 1, 1)
FEEDS = {"x": (4 * np.random.default_rng(2).standard_normal((1, 4, 6, 5))).astype(np.float32)}


def by_clip(last: str, *operands: str, constant: Any = 6.0) -> onnx.ModelProto:
    """product = x * Clip(x + 3, 0, 6), then the last node."""
    nodes = [
        node("Add", ["x", "three"], ["shifted"]),
        node("Clip", ["shifted", "low", "six"], ["gate"]),
        node("Mul", ["gate", "x"], ["product"]),
        node(last, [*operands], ["y"]),
    ]
    weights = {name: np.asarray(value) for name, value in NUMBERS.items()}
    return model_of(nodes, {"x": [1, 4, 6, 5]}, weights | {"k": np.asarray(constant, np.float32)})


def by_gate(alpha: float, *, shared: bool = False) -> onnx.ModelProto:
    nodes = [
        node("HardSigmoid", ["x"], ["gate"], alpha=alpha),
        node("Mul", ["x", "gate"], ["made"]),
        node("Add", ["made", "gate"], ["y"]) if shared else node("Identity", ["made"], ["y"]),
    ]
    return model_of(nodes, {"x": [1, 4, 6, 5]}, {})


FUSED = {
    "divided": (by_clip("Div", "product", "k"), ["HARD_SWISH"]),
    "times a sixth": (by_clip("Mul", "k", "product", constant=1 / 6), ["HARD_SWISH"]),
    "times channels": (by_clip("Mul", "product", "k", constant=CHANNELS), ["HARD_SWISH", "MUL"]),
    "divided by channels": (by_clip("Div", "product", "k", constant=CHANNELS), ["HARD_SWISH", "MUL"]),
    "hard sigmoid": (by_gate(1 / 6), ["HARD_SWISH"]),
}


@pytest.mark.parametrize("name", FUSED)
def test_a_hard_swish_is_one_operator_and_computes_the_same(name: str, tmp_path: Path) -> None:
    model, operators = FUSED[name]
    artifact = build(prepared(model), tmp_path)
    assert op_names((tmp_path / artifact.main).read_bytes()) == operators
    got = LiteRTSession(tmp_path / artifact.main).run(FEEDS)["y"]
    np.testing.assert_allclose(got, reference(model, FEEDS)["y"], rtol=1e-5, atol=1e-5)


OTHERS = {
    "constant over gate": by_clip("Div", "k", "product", constant=6.0),
    "another slope": by_gate(0.2),
    "a gate that is read again": by_gate(1 / 6, shared=True),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_only_looks_like_one_is_left_alone(name: str, tmp_path: Path) -> None:
    artifact = build(prepared(OTHERS[name]), tmp_path)
    assert "HARD_SWISH" not in op_names((tmp_path / artifact.main).read_bytes())
    feeds = {"x": np.abs(FEEDS["x"]) + 0.5}
    got = LiteRTSession(tmp_path / artifact.main).run(feeds)["y"]
    np.testing.assert_allclose(got, reference(OTHERS[name], feeds)["y"], rtol=1e-5, atol=1e-5)

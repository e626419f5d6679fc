"""Where activations are flat, from their formulas; chains that can't be evaluated keep their range."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgekit._qdq.pointwise import LONGEST, find_chains
from edgekit._qdq.saturation import find_useful_interval, narrow_range
from edgekit.calibration.record import TensorRange
from tests.qdq.qdq_nets import as_component, f32, net, node, normal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from edgekit._qdq.pointwise import PointwiseChain

X = (2, 3, 4, 4)
PART = 0.05 / 255  # of the result's span: what a cut may change


def chain_of(
    nodes: Sequence[onnx.NodeProto], weights: dict[str, np.ndarray] | None = None, *, opset: int = 20
) -> PointwiseChain:
    model = net(nodes, {"x": X}, ["y"], weights, opset=opset)
    (chain,) = find_chains(as_component(model).model.graph)
    return chain


HARD_SWISH = [
    node("Add", ["x", "three"], ["h"]),
    node("Clip", ["h", "lo", "hi"], ["c"]),
    node("Mul", ["x", "c"], ["m"]),
    node("Div", ["m", "hi"], ["y"]),
]
LIMITS = {"three": f32(3), "lo": f32(0), "hi": f32(6)}


@pytest.mark.parametrize("shape", [X, (1, 3, 4, 4), (5, 7), (4,)])
def test_relu6_needs_0_to_6(shape: tuple[int, ...]) -> None:
    weights = {"lo": f32(0), "hi": f32(6)}
    model = net([node("Clip", ["x", "lo", "hi"], ["y"])], {"x": shape}, ["y"], weights)
    (chain,) = find_chains(as_component(model).model.graph)
    low, high = find_useful_interval(chain, -20.0, 30.0)
    # A grid step is 50/1024, and a part of a result's step may be cut as well.
    assert low == pytest.approx(0, abs=50 / 1024 + 6 * PART)
    assert high == pytest.approx(6, abs=50 / 1024 + 6 * PART)


@pytest.mark.parametrize(
    "chain",
    [chain_of([node("HardSwish", ["x"], ["y"])]), chain_of(HARD_SWISH, LIMITS)],
    ids=["op", "decomposed"],
)
def test_hard_swish_is_flat_below_minus_3_and_never_above(chain: PointwiseChain) -> None:
    low, high = find_useful_interval(chain, -30.0, 10.0)
    tolerance = (10 + 0.375) * PART  # x (x + 3) / 6 = -tolerance just above -3
    assert -3 - 40 / 1024 <= low <= -3 + 2 * tolerance + 40 / 1024
    assert high == 10.0


def test_a_sigmoid_is_cut_where_it_is_within_a_part_of_a_step_of_its_ends() -> None:
    low, high = find_useful_interval(chain_of([node("Sigmoid", ["x"], ["y"])]), -40.0, 40.0)
    edge = np.log(1 / PART - 1)  # sigmoid(-edge) = PART
    assert low == pytest.approx(-edge, abs=80 / 1024 + 0.01)
    assert high == pytest.approx(edge, abs=80 / 1024 + 0.01)


Formula = Callable[[np.ndarray], np.ndarray]
FORMULAS: list[tuple[str, Formula]] = [
    ("Tanh", np.tanh),
    ("Softplus", lambda x: np.log1p(np.exp(x))),
    ("Elu", lambda x: np.where(x > 0, x, np.expm1(x))),
    ("LeakyRelu", lambda x: np.where(x > 0, x, 0.01 * x)),
    ("Mish", lambda x: x * np.tanh(np.log1p(np.exp(x)))),
]


@pytest.mark.parametrize(("op", "formula"), FORMULAS)
def test_what_lies_outside_the_interval_moves_the_result_by_no_more_than_a_part_of_a_step(
    op: str, formula: Formula
) -> None:
    seen = np.linspace(-12, 9, 4001)
    low, high = find_useful_interval(chain_of([node(op, ["x"], ["y"])]), -12.0, 9.0)
    moved = np.abs(formula(np.clip(seen, low, high)) - formula(seen)).max()
    assert moved <= PART * np.ptp(formula(seen)) * 1.05
    wider = formula(np.clip(seen, low + 0.5, high - 0.5))
    assert np.abs(wider - formula(seen)).max() > PART * np.ptp(formula(seen)), "half a unit more is too much"


def test_constants_a_channel_keep_what_any_channel_needs() -> None:
    """y = relu(x * [1, -1, 0]): one channel is flat below 0, one above, one everywhere."""
    nodes = [node("Mul", ["x", "k"], ["m"]), node("Relu", ["m"], ["y"])]
    weights = {"k": f32([1, -1, 0]).reshape(3, 1, 1)}
    assert find_useful_interval(chain_of(nodes, weights), -5.0, 7.0) == (-5.0, 7.0)
    weights = {"k": f32([1, 2, 0]).reshape(3, 1, 1)}
    low, high = find_useful_interval(chain_of(nodes, weights), -5.0, 7.0)
    assert low == pytest.approx(0, abs=12 / 1024 + 7 * PART)
    assert high == 7.0


def test_a_slope_a_channel_is_evaluated_along_its_axis() -> None:
    chain = chain_of([node("PRelu", ["x", "s"], ["y"])], {"s": f32([0, 0, 0]).reshape(3, 1, 1)})
    assert find_useful_interval(chain, -5.0, 7.0)[0] == pytest.approx(0, abs=12 / 1024 + 7 * PART)
    chain = chain_of([node("PRelu", ["x", "s"], ["y"])], {"s": f32([0, 0.1, 0]).reshape(3, 1, 1)})
    low, high = find_useful_interval(chain, -5.0, 7.0)
    assert low == pytest.approx(-5, abs=12 / 1024 + 7.5 * PART / 0.1)  # a tenth of its step counts there
    assert high == 7.0


def test_constants_that_run_over_the_batch_are_evaluated_too() -> None:
    nodes = [node("Add", ["x", "k"], ["m"]), node("Relu", ["m"], ["y"])]
    chain = chain_of(nodes, {"k": normal(*X)})
    low, high = find_useful_interval(chain, -5.0, 7.0)
    assert low == pytest.approx(-float(normal(*X).max()), abs=12 / 1024 + 8 * PART)
    assert high == 7.0


def test_a_table_of_constants_is_left_alone() -> None:
    nodes = [node("Add", ["x", "k"], ["m"]), node("Relu", ["m"], ["y"])]
    model = net(nodes, {"x": (1, 64, 20, 20)}, ["y"], {"k": normal(1, 64, 20, 20)})
    (chain,) = find_chains(as_component(model).model.graph)
    assert find_useful_interval(chain, -5.0, 7.0) == (-5.0, 7.0)


@pytest.mark.parametrize("constant", [np.nan, np.inf])
def test_a_chain_that_gives_nan_or_infinity_keeps_its_range(constant: float) -> None:
    chain = chain_of([node("Mul", ["x", "k"], ["m"]), node("Relu", ["m"], ["y"])], {"k": f32(constant)})
    assert find_useful_interval(chain, -5.0, 7.0) == (-5.0, 7.0)


def test_a_chain_that_is_constant_over_what_was_seen_keeps_its_range() -> None:
    """Nothing is known of where a dead activation wakes up."""
    chain = chain_of([node("Relu", ["x"], ["y"])])
    assert find_useful_interval(chain, -5.0, 0.0) == (-5.0, 0.0)


@pytest.mark.parametrize("ends", [(0.0, 0.0), (1.0, -1.0), (float("nan"), 1.0)])
def test_a_range_without_extent_stays(ends: tuple[float, float]) -> None:
    found = find_useful_interval(chain_of([node("Relu", ["x"], ["y"])]), *ends)
    np.testing.assert_equal(found, ends)


@pytest.mark.parametrize("name", ["grid", "result0", "constant0"])
def test_constants_may_have_any_name(name: str) -> None:
    weights = {name: f32(0), "hi": f32(6)}
    chain = chain_of([node("Clip", ["x", name, "hi"], ["y"])], weights)
    assert find_useful_interval(chain, -20.0, 30.0)[1] < 7


def test_both_kinds_of_range_are_narrowed_each_within_itself() -> None:
    chain = chain_of([node("HardSwish", ["x"], ["y"])])
    seen = TensorRange(low=-30.0, high=4.0, threshold=30.0, clip_low=-30.0, clip_high=4.0)
    found = narrow_range(chain, seen)
    assert found.clip_low == pytest.approx(-3, abs=0.1)
    assert found.clip_high == 4.0
    assert found.threshold == 4.0
    assert (found.low, found.high) == (-30.0, 4.0)


def test_a_threshold_above_the_clip_range_stays_where_the_chain_is_not_flat() -> None:
    chain = chain_of([node("LeakyRelu", ["x"], ["y"], alpha=0.5)])
    seen = TensorRange(low=-4.0, high=4.0, threshold=3.0, clip_low=-1.0, clip_high=1.0)
    assert narrow_range(chain, seen).threshold == 3.0


def test_a_chain_is_cut_at_its_longest() -> None:
    nodes = [node("Tanh", [f"t{i}" if i else "x"], [f"t{i + 1}"]) for i in range(LONGEST + 5)]
    model = net([*nodes, node("Abs", [f"t{LONGEST + 5}"], ["y"])], {"x": X}, ["y"])
    lengths = [len(chain.nodes) for chain in find_chains(as_component(model).model.graph)]
    assert sorted(lengths) == [6, LONGEST]

"""GPTQ and its statistics against the formulas written out, and the choice between it and rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from edgekit._choose_rounding import Asked, choose_rounding
from edgekit._qdq import Steering, WeightRounder, quantize_weights
from edgekit._qdq.gptq import gptq_weight
from edgekit._qdq.observe_products import Products
from edgekit._qdq.round_weights import Grouping, round_weight
from edgekit._schemes import WeightForm
from edgekit.calibration.samples import Sample, Samples
from edgekit.errors import SamplesError, UsageError
from edgekit.passes.serialize_model import serialize_model
from tests.qdq.test_quantize_weights import component_of, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgekit._schemes import WeightBits
    from edgekit._values import Component

RNG = np.random.default_rng(11)
INT4 = (WeightForm("MatMul", 4, (32,)), WeightForm("Gemm", 4, (32,)))


def floats(*shape: int) -> NDArray[np.float32]:
    return RNG.standard_normal(shape).astype(np.float32)


def mixed_data(rows: int, columns: int) -> NDArray[np.float32]:
    """Data whose columns hang together: there the later columns can make up for the earlier ones."""
    mix = np.random.default_rng(3).standard_normal((columns // 4, columns)).astype(np.float32)
    mixed = floats(rows, columns // 4) @ mix + 0.1 * floats(rows, columns)
    return mixed.astype(np.float32)


def spread(scales: NDArray[np.float32], grouping: Grouping, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if grouping.block:
        return np.repeat(scales, grouping.block, axis=grouping.summed)
    return scales.reshape([-1 if axis == grouping.channel else 1 for axis in range(len(shape))])


def one_column_at_a_time(
    rows: NDArray[np.float64],
    scales: NDArray[np.float64],
    hessian: NDArray[np.float64],
    limits: tuple[int, int],
) -> NDArray[np.int8]:
    """The paper's own greedy rule: round a column, spread its error by inv(H), drop it from inv(H)."""
    mean = np.diagonal(hessian).mean()
    inverse = np.linalg.inv(hessian + 0.01 * mean * np.eye(len(hessian)))
    left, codes = rows.copy(), np.zeros(rows.shape, np.int8)
    for column in np.argsort(-np.diagonal(hessian), kind="stable"):
        scale = scales[:, column if scales.shape[1] > 1 else 0]
        codes[:, column] = np.clip(np.rint(left[:, column] / scale), *limits)
        error = (left[:, column] - codes[:, column] * scale) / inverse[column, column]
        left -= np.outer(error, inverse[column])
        inverse -= np.outer(inverse[:, column], inverse[column]) / inverse[column, column]
        left[:, column] = 0
    return codes


@pytest.mark.parametrize(
    ("bits", "block", "limits"), [(4, 32, (-8, 7)), (4, 0, (-7, 7)), (8, 0, (-127, 127))]
)
@pytest.mark.parametrize("rows_first", [True, False])
def test_codes_are_those_of_the_greedy_rule(
    bits: WeightBits,
    block: int,
    limits: tuple[int, int],
    rows_first: bool,
) -> None:
    weight, data = floats(24, 192), mixed_data(400, 192)
    hessian = data.T @ data / np.float32(400)
    grouping = Grouping(0, 1, block) if rows_first else Grouping(1, 0, block)
    made = gptq_weight(weight if rows_first else weight.T, hessian, bits, grouping)
    assert made.method == "gptq"
    codes = made.codes if rows_first else made.codes.T
    wide = spread(made.scales if rows_first or not block else made.scales.T, Grouping(0, 1, block), (24, 192))
    expected = one_column_at_a_time(
        weight.astype(np.float64), wide.astype(np.float64), hessian.astype(np.float64), limits
    )
    # A tie that falls otherwise in float32 changes what comes behind it in that row.
    assert (codes == expected).all(axis=1).mean() > 0.8
    assert np.abs(codes.astype(int) - expected).max() <= (1 if bits == 4 else 12)


def test_the_product_with_unseen_data_is_nearer_than_with_plain_rounding() -> None:
    weight, data, unseen = floats(128, 48), mixed_data(600, 128), mixed_data(200, 128)
    grouping = Grouping(1, 0, 32)
    made = gptq_weight(weight, data.T @ data / np.float32(600), 4, grouping)
    plain = round_weight(weight, 4, grouping)
    errors = [
        float(np.square(unseen @ (weight - item.codes * spread(item.scales, grouping, weight.shape))).sum())
        for item in (made, plain)
    ]
    assert errors[0] < 0.5 * errors[1]
    told = 10 * np.log10(float(np.square(unseen @ weight).sum()) / errors[0])
    assert made.product_db == pytest.approx(told, abs=1)


@pytest.mark.parametrize("kind", ["silent columns", "one sample", "nothing"])
def test_data_that_say_little_still_give_sound_codes(kind: str) -> None:
    weight, data = floats(32, 64), floats(50, 64)
    if kind == "silent columns":
        data[:, ::2] = 0
    data = {"one sample": data[:1], "nothing": 0 * data}.get(kind, data)
    made = gptq_weight(weight, data.T @ data / np.float32(len(data)), 4, Grouping(0, 1, 32))
    assert np.isfinite(made.sqnr_db)
    assert np.abs(made.codes).max() <= 8
    assert made.method == ("rtn" if kind == "nothing" else "gptq")


def test_half_quadratic_scales_leave_fewer_errors_that_matter() -> None:
    weight = RNG.standard_t(3, (64, 64)).astype(np.float32)
    grouping = Grouping(0, 1, 32)
    sums = {}
    for method in ("rtn", "hqq"):
        made = round_weight(weight, 4, grouping, method=method)
        error = np.abs(weight - made.codes * spread(made.scales, grouping, weight.shape))
        sums[method] = float((error**0.7).sum())
        assert made.method == method
        assert np.array_equal(made.scales, made.scales.astype(np.float16).astype(np.float32))
    assert sums["hqq"] < sums["rtn"]


def net() -> Component:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", "v"], ["g"], name="second", transB=1),
        helper.make_node("MatMul", ["r", "u"], ["k"], name="third"),
        helper.make_node("Add", ["g", "k"], ["y"], name="add"),
    ]
    weights = {"w": floats(64, 96), "v": floats(64, 96), "u": floats(96, 64)}
    return component_of(nodes, {"x": [3, 64]}, weights)


def samples(feeds: Sequence[Any]) -> Samples:
    found = [Sample(str(index), {"x": feed}) for index, feed in enumerate(feeds)]
    return Samples("0" * 64, "real", "made here", len(found), lambda: iter(found))


@pytest.mark.parametrize("budget", [1, 10**9])
def test_the_statistics_are_those_of_the_tensors_that_onnxruntime_gives(budget: int) -> None:
    component, feeds = net(), [mixed_data(3, 64) for _ in range(5)]
    model = onnx.load_from_string(serialize_model(component.model))
    model.graph.output.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, None))
    session = ort.InferenceSession(model.SerializeToString())
    hidden: Any = np.concatenate([np.asarray(session.run(["r"], {"x": feed})[0]) for feed in feeds])
    data = np.concatenate(feeds)
    products = Products(component.model, samples(feeds), budget)
    for weight, seen in (("w", data), ("v", hidden), ("u", hidden), ("w", data)):
        found, wanted = products.of(weight), seen.T @ seen / len(seen)
        assert found is not None
        np.testing.assert_allclose(found, wanted.astype(np.float32), rtol=1e-4, atol=1e-4)
    assert products.of("no such weight") is None


def test_a_tensor_that_is_not_finite_is_told_with_its_sample() -> None:
    feeds = [floats(3, 64), floats(3, 64)]
    feeds[1][0, 0] = np.inf
    with pytest.raises(SamplesError, match="tensor 'x' is not finite on sample '1'"):
        Products(net().model, samples(feeds)).of("w")


def ask(method: Any) -> Asked:
    return Asked(INT4, "w4", method, Steering())


def test_gptq_is_taken_where_unseen_samples_show_it_nearer() -> None:
    component, feeds = net(), [mixed_data(3, 64) for _ in range(40)]
    chosen = choose_rounding(component, samples(feeds), ask("auto"), WeightRounder())
    assert chosen.rounder.method == "gptq"
    assert "on 4 samples that it did not see" in chosen.note
    x = mixed_data(3, 64)
    want = run(component, {"x": x})
    rates = [
        float(
            np.square(
                run(quantize_weights(component, INT4, precision="w4", rounder=one).component, {"x": x}) - want
            ).sum()
        )
        for one in (chosen.rounder, WeightRounder())
    ]
    assert rates[0] < rates[1]


def test_noise_and_no_samples_leave_plain_rounding() -> None:
    component = net()
    noise = samples([floats(3, 64)])
    random = Samples(noise.digest, "random", "noise", 1, noise.read)
    for given in (None, random):
        chosen = choose_rounding(component, given, ask("auto"), WeightRounder())
        assert (chosen.rounder.method, chosen.note) == ("rtn", "")


def test_gptq_without_samples_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match=r"--weights gptq needs samples; .*--samples"):
        choose_rounding(net(), None, ask("gptq"), WeightRounder())


def test_the_method_and_both_errors_are_told() -> None:
    component = net()
    chosen = choose_rounding(component, samples([mixed_data(3, 64)]), ask("gptq"), WeightRounder())
    result = quantize_weights(component, INT4, precision="w4", rounder=chosen.rounder)
    assert result.method.startswith("w4: 3 int4 weights; gptq: ")
    assert all("dB in the product" in item.reason and item.reason.count("gptq") for item in result.decisions)

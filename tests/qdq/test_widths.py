"""Nodes on 16-bit activations in an int8 graph: which tensors get which grid, and what is between the two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest

from edgekit._qdq import QdqForm, Steering, Widening, insert_qdq
from edgekit._schemes import (
    INT16X8,
    NATIVE_U8_S4,
    NATIVE_U8_S8,
    NATIVE_U16_S4,
    NATIVE_U16_S8,
    PORTABLE,
)
from tests.models import run_onnx
from tests.qdq.qdq_nets import all_tensors, as_component, net, node, normal, record_of, sqnr

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from edgekit._qdq import QdqResult
    from edgekit._schemes import Scheme

FEEDS = {"x": normal(1, 4, 8, 8, reach=3.0)}
WEIGHTS = {f"w{index}": normal(4, 4, 3, 3, seed=index) for index in range(4)}
SAME: dict[str, Any] = {"pads": [1, 1, 1, 1]}


def row_of(*between: onnx.NodeProto, last: str = "a") -> onnx.ModelProto:
    """Conv `one` makes a; behind what is given, Conv `two` reads `last`, and Conv `three` what that makes."""
    nodes = [
        node("Conv", ["x", "w0"], ["a"], "one", **SAME),
        *between,
        node("Conv", [last, "w1"], ["m"], "two", **SAME),
        node("Conv", ["m", "w2"], ["y"], "three", **SAME),
    ]
    read = {name for item in nodes for name in item.input}
    kept = {
        name: array for name, array in (WEIGHTS | {"shape": np.array([1, 4, 8, 8])}).items() if name in read
    }
    return net(nodes, {"x": [1, 4, 8, 8]}, ["y"], kept)


def widened(
    model: onnx.ModelProto, names: Sequence[str], schemes: tuple[Scheme, Scheme] = (PORTABLE, INT16X8)
) -> QdqResult:
    record = record_of(all_tensors(model, FEEDS))
    steering = Steering(wide=Widening(schemes[1], frozenset(names)))
    return insert_qdq(as_component(model), record, form=QdqForm(schemes[0], "int32"), steering=steering)


def grids(result: QdqResult, reader: str) -> list[tuple[str, float]]:
    """(dtype, scale) of the codes in front of a node's first input, and of those that they were made from."""
    graph = result.component.model.graph
    value: ir.Value | None = next(item for item in graph if item.name == reader).inputs[0]
    found = []
    while value is not None and (restored := value.producer()) is not None:
        if restored.op_type != "DequantizeLinear":
            break
        quantize = restored.inputs[0].producer()  # type: ignore[union-attr]  # a DQ has an input
        assert quantize is not None
        zero, scale = (quantize.inputs[index].const_value.numpy() for index in (2, 1))  # type: ignore[union-attr]  # constants
        found.append((zero.dtype.name, float(scale)))
        value = quantize.inputs[0]
    return found


def test_a_wide_node_reads_and_writes_16_bits_and_its_neighbours_8() -> None:
    result = widened(row_of(), ["two"])
    tensors = all_tensors(row_of(), FEEDS)
    peaks = {name: float(np.abs(tensors[name]).max()) for name in "xam"}
    wide = [pytest.approx(peaks[name] / 32767, rel=1e-6) for name in "am"]
    assert [dtype for dtype, _ in grids(result, "one")] == ["int8"]
    # What an int8 node made is rounded to 8 bits first, and what a 16-bit node made to 16.
    assert [dtype for dtype, _ in grids(result, "two")] == ["int16", "int8"]
    assert grids(result, "two")[0][1] == wide[0]
    assert [dtype for dtype, _ in grids(result, "three")] == ["int8", "int16"]
    assert grids(result, "three")[1][1] == wide[1]
    told = {one.node: (one.precision, one.reason) for one in result.decisions}
    assert told["two"] == ("int16x8", "16-bit activations, given by the search for --max-drop")
    assert told["one"][0] == told["three"][0] == "int8"
    assert {name: one.dtype for name, one in result.scales.tensors.items() if name in "xam"} == {
        "x": "int8", "a": "int8", "m": "int16",
    }  # fmt: skip


def test_weights_stay_the_same_8_bits() -> None:
    plain, wide = widened(row_of(), []), widened(row_of(), ["one", "two", "three"])
    for name in ("w0", "w1", "w2"):
        one, other = (
            result.component.model.graph.initializers[f"{name}/integers"].const_value
            for result in (plain, wide)
        )
        assert one is not None
        assert other is not None
        assert other.dtype == ir.DataType.INT8
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.parametrize("schemes", [(PORTABLE, INT16X8), (NATIVE_U8_S8, NATIVE_U16_S8)])
def test_more_nodes_in_16_bits_are_nearer_to_float(schemes: tuple[Scheme, Scheme]) -> None:
    model = row_of()
    want = run_onnx(model, FEEDS)["y"]
    sets: tuple[list[str], ...] = ([], ["three"], ["two", "three"], ["one", "two", "three"])
    rates = [
        sqnr(want, run_onnx(widened(model, names, schemes).component.model, FEEDS)["y"]) for names in sets
    ]
    assert rates == sorted(rates)
    assert rates[-1] > rates[0] + 3  # what is left is the weights'


@pytest.mark.parametrize(
    ("scheme", "many", "few"),
    [
        (NATIVE_U8_S8, "int8", "int8"),
        (NATIVE_U16_S8, "int16x8", "int16x8"),
        (NATIVE_U8_S4, "int8x4", "int8"),
        (NATIVE_U16_S4, "int16x4", "int16x8"),
    ],
    ids=lambda given: getattr(given, "name", given),
)
def test_a_decision_names_the_widths_that_the_node_has(scheme: Scheme, many: str, few: str) -> None:
    """Weights of fewer than 1024 elements keep 8 bits."""
    nodes = [
        node("Conv", ["x", "large"], ["a"], "many", **SAME),
        node("Relu", ["a"], ["r"], "relu"),
        node("Conv", ["r", "small"], ["y"], "few", **SAME),
    ]
    weights = {"large": normal(32, 4, 3, 3), "small": normal(3, 32, 3, 3, seed=1)}
    model = net(nodes, {"x": [1, 4, 8, 8]}, ["y"], weights)
    record = record_of(all_tensors(model, FEEDS))
    result = insert_qdq(as_component(model), record, form=QdqForm(scheme, "int32"))
    dtypes = {
        name: value.const_value.dtype.name  # type: ignore[union-attr]  # initializers
        for name, value in result.component.model.graph.initializers.items()
        if name.endswith("/integers")
    }
    four = scheme.weight == "int4"
    assert dtypes == {"large/integers": "INT4" if four else "INT8", "small/integers": "INT8"}
    told = {one.node: (one.precision, one.reason) for one in result.decisions}
    assert {name: form for name, (form, _) in told.items()} == {"many": many, "relu": few, "few": few}
    assert all((scheme.name in reason) == (form != "int8") for form, reason in told.values())


def test_nodes_without_a_rounding_between_them_are_of_one_width() -> None:
    model = row_of(node("Relu", ["a"], ["b"], "relu"), last="b")
    for name in ("one", "relu"):
        told = {one.node: one.precision for one in widened(model, [name]).decisions}
        assert told == {"one": "int16x8", "relu": "int16x8", "two": "int8", "three": "int8"}


def test_what_moves_values_has_their_width() -> None:
    model = row_of(node("Reshape", ["a", "shape"], ["b"], "moved"), last="b")
    wide = {one.node: one.precision for one in widened(model, ["one"]).decisions}
    assert (wide["moved"], wide["two"]) == ("int16x8", "int8")
    narrow = {one.node: one.precision for one in widened(model, ["moved", "two"]).decisions}
    assert (narrow["one"], narrow["moved"], narrow["two"]) == ("int8", "int8", "int16x8")


def test_readers_of_both_widths_have_a_pair_each() -> None:
    nodes = [
        node("Conv", ["x", "w0"], ["a"], "narrow", **SAME),
        node("Conv", ["x", "w1"], ["b"], "wide", **SAME),
        node("Add", ["a", "b"], ["s"], "sum"),
        node("Conv", ["s", "w2"], ["y"], "last", **SAME),
    ]
    model = net(nodes, {"x": [1, 4, 8, 8]}, ["y"], {name: WEIGHTS[name] for name in ("w0", "w1", "w2")})
    result = widened(model, ["wide"])
    # A graph input comes as float: neither pair goes through the other's.
    assert [dtype for dtype, _ in grids(result, "narrow")] == ["int8"]
    assert [dtype for dtype, _ in grids(result, "wide")] == ["int16"]
    assert result.scales.tensors["x"].dtype == "int8"

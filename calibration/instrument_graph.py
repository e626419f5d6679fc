"""Put the measuring of tensors into a clone of the graph, so that no activation leaves the session."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass

from edgekit.calibration.plan_measures import plan_measures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgekit.calibration.follow_extremes import Follows
    from edgekit.calibration.plan_measures import Measure, WatchList

# Ratios of tensor size to wanted elements above this take the stride of this one, and so more elements.
_LARGEST_RATIO = 4096


@dataclass(frozen=True)
class Instrumented:
    """A clone whose outputs are the measurements of `tensors`, in their order in the graph.

    Output names of tensor i: `<prefix>low<i>`, `high`, and for histograms `size`, `part`; then the graph has
    two more inputs, `<prefix>take` (int64 scalar, wanted elements) and `<prefix>phase` (int64 [1]). `places`
    names what makes each tensor. The tensors at `summed` have their `sum`: a NaN of any tensor shows in one
    of those. For the tensors at `by_channel` there are `channel_low` and `channel_high` too, one value an
    entry of its axis. `shown`: the graph's own outputs, where they stay beside the measurements.
    """

    model: ir.Model
    tensors: tuple[str, ...]
    places: tuple[str, ...]
    prefix: str
    sampled: bool
    summed: tuple[int, ...] = ()
    by_channel: tuple[int, ...] = ()
    shown: tuple[str, ...] = ()


def instrument_graph(model: ir.Model, watch: WatchList, *, parts: tuple[str, ...]) -> Instrumented:
    """Clone `model` and measure what is on `watch`.

    parts: `extremes`, which are exact; `sample`, every k-th value of the flattened tensor, k a prime, so that
    it does not follow the width or the channels; `nans`, a sum of each tensor, which tells whether a NaN is
    among its values: ReduceMin and ReduceMax of ONNX Runtime pass over it. Without `nans` there are sums only
    where a NaN would show in no other sum.
    """
    clone = _infer_types(model.clone())
    measures = plan_measures(clone.graph, watch, parts)
    builder = _Builder(clone)
    outputs: list[ir.Value] = []
    for measure in measures:
        nodes = builder.measure(measure)
        producer = measure.value.producer()
        if producer is None:
            builder.at_start.extend(nodes)
        else:
            clone.graph.insert_after(producer, nodes)
        outputs.extend(node.outputs[0] for node in nodes if _is_result(node.outputs[0], builder.prefix))
    # ONNX Runtime loads no graph without outputs: where nothing is measured its own stay.
    shown = list(clone.graph.outputs) if watch.show is not None or not measures else []
    builder.finish([*shown, *outputs])
    if watch.tensors is not None:
        RemoveUnusedNodesPass()(clone)
    return Instrumented(
        clone,
        tuple(str(measure.value.name) for measure in measures),
        tuple(_describe(measure.value) for measure in measures),
        builder.prefix,
        sampled="sample" in parts,
        summed=tuple(measure.index for measure in measures if measure.summed),
        by_channel=tuple(measure.index for measure in measures if measure.channel_axis is not None),
        shown=tuple(str(value.name) for value in shown),
    )


def _infer_types(clone: ir.Model) -> ir.Model:
    if all(output.dtype is not None for node in clone.graph for output in node.outputs):
        return clone
    return ShapeInferencePass()(clone).model


def _describe(value: ir.Value) -> str:
    node = value.producer()
    return "graph input" if node is None else f"output of {node.op_type} '{node.name}'"


def _is_result(value: ir.Value, prefix: str) -> bool:
    name = str(value.name).removeprefix(prefix)
    return name.startswith(("low", "high", "sum", "size", "part", "channel_"))


class _Builder:
    """Makes measuring nodes with names that the graph does not have, and their shared constants."""

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        self.prefix = self._free_prefix()
        self.at_start: list[ir.Node] = []
        self._inputs: dict[str, ir.Value] = {}
        self._constants: dict[str, ir.Value] = {}
        self._extremes: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}

    def _free_prefix(self) -> str:
        names = [str(output.name) for node in self._graph for output in node.outputs]
        names += [str(value.name) for value in self._graph.inputs] + list(self._graph.initializers)
        prefix = "edgekit_observe_"
        while any(name.startswith(prefix) for name in names):
            prefix += "_"
        return prefix

    def measure(self, wanted: Measure) -> list[ir.Node]:
        """The nodes that measure one tensor, in an order that ONNX accepts."""
        value, index = wanted.value, wanted.index
        channels = (
            [] if wanted.channel_axis is None else self._reduce_channels(value, index, wanted.channel_axis)
        )
        if wanted.follows is not None:
            nodes = self._follow(wanted.follows, index)
        else:
            low, high = [node.outputs[0] for node in channels] or [value, value]
            nodes = [
                self._node("ReduceMin", [low], f"low{index}", keepdims=0),
                self._node("ReduceMax", [high], f"high{index}", keepdims=0),
            ]
        self._extremes[value] = (nodes[0].outputs[0], nodes[1].outputs[0])
        if wanted.summed:
            nodes.append(self._node("ReduceSum", [value], f"sum{index}", keepdims=0))
        return [*channels, *nodes, *(self._sample(value, index) if wanted.sampled else [])]

    def _reduce_channels(self, value: ir.Value, index: int, kept: int) -> list[ir.Node]:
        """Extremes of each entry of axis `kept`; axes are an attribute up to opset 17 and an input after."""
        axes = [axis for axis in range(len(value.shape or ())) if axis != kept]
        ends = (("ReduceMin", f"channel_low{index}"), ("ReduceMax", f"channel_high{index}"))
        if self._graph.opset_imports.get("", 0) < 18:
            return [self._node(kind, [value], name, keepdims=0, axes=axes) for kind, name in ends]
        given = self._constant(f"axes{index}", axes)
        return [self._node(kind, [value, given], name, keepdims=0) for kind, name in ends]

    def _follow(self, follows: Follows, index: int) -> list[ir.Node]:
        """The same op on the extremes alone."""
        others = [
            self._constant(f"number{index}", item) if isinstance(item, np.ndarray) else item
            for item in follows.others
        ]
        ends = [self._extremes[source] for source in follows.sources]
        lows, highs = [low for low, _ in ends], [high for _, high in ends]
        if follows.falls:
            lows, highs = highs, lows
        return [
            self._node(kind, [*found, *others], f"{name}{index}")
            for kind, found, name in zip(follows.kinds, (lows, highs), ("low", "high"), strict=True)
        ]

    def _sample(self, value: ir.Value, index: int) -> list[ir.Node]:
        """size = Size(x); k = stride[min(size / take, last)]; part = x.flat[phase % k :: k]."""
        number = ir.DataType.INT64
        flat, last = self._constant("flat", [-1]), self._constant("last", _LARGEST_RATIO)
        size = self._node("Size", [value], f"size{index}", number)
        ratio = self._node("Div", [size.outputs[0], self._input("take", [])], f"ratio{index}", number)
        row = self._node("Min", [ratio.outputs[0], last], f"row{index}", number)
        stride = self._node("Gather", [self._strides(), row.outputs[0]], f"stride{index}", number)
        step = self._node("Reshape", [stride.outputs[0], flat], f"step{index}", number)
        phase = self._node("Mod", [self._input("phase", [1]), step.outputs[0]], f"phase{index}", number)
        line = self._node("Reshape", [value, flat], f"line{index}")
        bounds = [self._constant("end", [2**62]), self._constant("axis", [0])]
        part = self._node(
            "Slice", [line.outputs[0], phase.outputs[0], *bounds, step.outputs[0]], f"part{index}"
        )
        return [size, ratio, row, stride, step, phase, line, part]

    def finish(self, outputs: list[ir.Value]) -> None:
        """Give the graph the new inputs, and these outputs instead of its own."""
        if self.at_start:
            nodes = list(self._graph)
            if nodes:
                self._graph.insert_before(nodes[0], self.at_start)
            else:
                self._graph.extend(self.at_start)
        self._graph.inputs.extend(self._inputs.values())
        self._graph.outputs.clear()
        self._graph.outputs.extend(outputs)

    def _node(
        self,
        kind: str,
        inputs: Sequence[ir.Value | None],
        name: str,
        dtype: ir.DataType = ir.DataType.FLOAT,
        **attributes: int | list[int],
    ) -> ir.Node:
        node = ir.node(kind, inputs, attributes=attributes, name=self.prefix + name)
        node.outputs[0].name = self.prefix + name
        node.outputs[0].type = ir.TensorType(dtype)
        return node

    def _input(self, name: str, shape: list[int]) -> ir.Value:
        if name not in self._inputs:
            kind = ir.TensorType(ir.DataType.INT64)
            self._inputs[name] = ir.Value(name=self.prefix + name, type=kind, shape=ir.Shape(shape))
        return self._inputs[name]

    def _strides(self) -> ir.Value:
        return self._constant("strides", _prime_strides())

    def _constant(self, name: str, numbers: int | Sequence[int] | NDArray[np.float32]) -> ir.Value:
        """An initializer: int64, or of the array's own type."""
        if name not in self._constants:
            array = numbers if isinstance(numbers, np.ndarray) else np.array(numbers, np.int64)
            tensor = ir.tensor(array, name=self.prefix + name)
            value = ir.Value(
                name=self.prefix + name,
                const_value=tensor,
                type=ir.TensorType(tensor.dtype),
                shape=ir.Shape(array.shape),
            )
            self._graph.register_initializer(value)
            self._constants[name] = value
        return self._constants[name]


@cache
def _prime_strides() -> tuple[int, ...]:
    """For each ratio 0 .. 4096 the largest prime not above it (1 for 0 and 1)."""
    strides = [1, 1]
    for ratio in range(2, _LARGEST_RATIO + 1):
        prime = all(ratio % divisor for divisor in range(2, int(ratio**0.5) + 1))
        strides.append(ratio if prime else strides[-1])
    return tuple(strides)

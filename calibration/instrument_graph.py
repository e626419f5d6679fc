"""Put the measuring of tensors into a clone of the graph, so that no activation leaves the session."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass

from edgekit.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# Ratios of tensor size to wanted elements above this take the stride of this one, and so more elements.
_LARGEST_RATIO = 4096

# Every value stays and none comes to it; and elementwise ops that never fall as their input rises.
_RESHAPING = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity"})
_RISING = frozenset({"Relu", "Clip"})


@dataclass(frozen=True)
class Instrumented:
    """A clone whose outputs are the measurements of `tensors`, in their order in the graph.

    Output names of tensor i: `<prefix>low<i>`, `high`, `sum`, and for histograms `size`, `part`;
    then the graph has two more inputs, `<prefix>take` (int64 scalar, wanted elements) and
    `<prefix>phase` (int64 [1]). `places` names what makes each
    tensor. For the tensors at `by_channel`
    there are `channel_low` and `channel_high` too, one value an entry of its axis. `shown`: the graph's own
    outputs, where they stay beside the measurements.
    """

    model: ir.Model
    tensors: tuple[str, ...]
    places: tuple[str, ...]
    prefix: str
    sampled: bool
    by_channel: tuple[int, ...] = ()
    shown: tuple[str, ...] = ()


@dataclass(frozen=True)
class WatchList:
    """The tensors to measure (None: every float32 activation, graph inputs included).

    by_channel: those whose extremes are wanted for each entry of an axis too, and which axis. show: is handed
    the inputs and the graph's own outputs of each sample, by name.
    """

    tensors: tuple[str, ...] | None = None
    by_channel: Mapping[str, int] = field(default_factory=dict)
    show: Callable[[Mapping[str, Any], Mapping[str, Any]], None] | None = None


def instrument_graph(model: ir.Model, watch: WatchList, *, parts: tuple[str, ...]) -> Instrumented:
    """Clone `model` and measure what is on `watch`.

    parts: `("extremes",)` or `("extremes", "sample")`. Extremes are exact; the sum tells whether a NaN
    is among the values, which ReduceMin and ReduceMax of ONNX Runtime pass over. The sample is every
    k-th value of the flattened tensor, k a prime, so that it does not follow the width or the channels.
    """
    clone = _infer_types(model.clone())
    values = _choose_values(clone, watch.tensors)
    builder = _Builder(clone)
    outputs: list[ir.Value] = []
    for index, value in enumerate(values):
        axis = watch.by_channel.get(str(value.name))
        nodes = builder.measure(value, index, sampled="sample" in parts, channel_axis=axis)
        producer = value.producer()
        if producer is None:
            builder.at_start.extend(nodes)
        else:
            clone.graph.insert_after(producer, nodes)
        outputs.extend(node.outputs[0] for node in nodes if _is_result(node.outputs[0], builder.prefix))
    # ONNX Runtime loads no graph without outputs: where nothing is measured its own stay.
    shown = list(clone.graph.outputs) if watch.show is not None or not values else []
    builder.finish([*shown, *outputs])
    if watch.tensors is not None:
        RemoveUnusedNodesPass()(clone)
    names = tuple(str(value.name) for value in values)
    places = tuple(map(_describe, values))
    indices = tuple(index for index, name in enumerate(names) if name in watch.by_channel)
    own = tuple(str(value.name) for value in shown)
    return Instrumented(clone, names, places, builder.prefix, "sample" in parts, indices, own)


def _infer_types(clone: ir.Model) -> ir.Model:
    if all(output.dtype is not None for node in clone.graph for output in node.outputs):
        return clone
    return ShapeInferencePass()(clone).model


def _choose_values(model: ir.Model, tensors: Sequence[str] | None) -> list[ir.Value]:
    graph = model.graph
    inputs = [value for value in graph.inputs if value.name not in graph.initializers]
    made = [output for node in graph for output in node.outputs if output.name]
    floats = [value for value in inputs + made if value.dtype == ir.DataType.FLOAT]
    if tensors is None:
        return floats
    absent = set(tensors) - {value.name for value in floats}
    if absent:
        raise ModelError(
            f"tensor '{min(absent)}' is no float32 activation of this model, so it has no range to observe",
            fix="take the name from `edgekit inspect`, of a graph input or a node's float output",
        )
    return [value for value in floats if value.name in set(tensors)]


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

    def measure(
        self, value: ir.Value, index: int, *, sampled: bool, channel_axis: int | None = None
    ) -> list[ir.Node]:
        """The nodes that measure one tensor, in an order that ONNX accepts."""
        by_channel = channel_axis is not None
        channels = [] if channel_axis is None else self._reduce_channels(value, index, channel_axis)
        low, high = [node.outputs[0] for node in channels] or [value, value]
        nodes = ([] if by_channel else self._follow(value, index)) or [
            self._node("ReduceMin", [low], f"low{index}", keepdims=0),
            self._node("ReduceMax", [high], f"high{index}", keepdims=0),
            self._node("ReduceSum", [value], f"sum{index}", keepdims=0),
        ]
        self._extremes[value] = (nodes[0].outputs[0], nodes[1].outputs[0])
        nodes = [*channels, *nodes]
        return nodes + self._sample(value, index) if sampled else nodes

    def _reduce_channels(self, value: ir.Value, index: int, kept: int) -> list[ir.Node]:
        """Extremes of each entry of axis `kept`; axes are an attribute up to opset 17 and an input after."""
        axes = [axis for axis in range(len(value.shape or ())) if axis != kept]
        ends = (("ReduceMin", f"channel_low{index}"), ("ReduceMax", f"channel_high{index}"))
        if self._graph.opset_imports.get("", 0) < 18:
            return [self._node(kind, [value], name, keepdims=0, axes=axes) for kind, name in ends]
        given = self._constant(f"axes{index}", axes)
        return [self._node(kind, [value, given], name, keepdims=0) for kind, name in ends]

    def _follow(self, value: ir.Value, index: int) -> list[ir.Node]:
        """Extremes that follow exactly from the input's: the same op on two scalars; none if they do not.

        A NaN of the input is found there, and these ops make none of their own.
        """
        node = value.producer()
        source = node.inputs[0] if node is not None and node.inputs else None
        if (
            node is None
            or source is None
            or node.domain not in ("", "ai.onnx")
            or source not in self._extremes
        ):
            return []
        low, high = self._extremes[source]
        if node.op_type in _RESHAPING:
            kind, bounds = "Identity", []
        elif node.op_type in _RISING and not node.attributes:
            kind, bounds = node.op_type, list(node.inputs[1:])
        else:
            return []
        made = [
            self._node(kind, [end, *bounds], f"{name}{index}") for name, end in (("low", low), ("high", high))
        ]
        return [*made, self._node("Identity", [made[0].outputs[0]], f"sum{index}")]

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

    def _constant(self, name: str, numbers: int | Sequence[int]) -> ir.Value:
        if name not in self._constants:
            array = np.array(numbers, np.int64)
            tensor = ir.tensor(array, name=self.prefix + name)
            value = ir.Value(
                name=self.prefix + name,
                const_value=tensor,
                type=ir.TensorType(ir.DataType.INT64),
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

"""The mean error that int8 brings to each convolution of a Q/DQ graph, all before it mended.

The float model tells the mean of every convolution's channels over a few samples, one at a time and once
for all forms of the graph. The Q/DQ graph then runs over the samples side by side, in one graph: behind
each convolution the difference of its mean to the float one is taken out before its result goes on, and is
an output. So each convolution shows the error that is left once all before it are mended: one run gives
what else takes one run a layer. (Samples mended one at a time, each by its own error, cost PP-OCRv4 rec
.02 to .04 of its exact words: what the average leaves at each of them matters.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.calibration.open_session import RUN_FAILURES, OpenSession, open_session
from edgekit.errors import ModelError
from edgekit.passes._rewire import CONTROL_FLOW, constant_array, initializer_from, input_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Feeds = Mapping[str, NDArray[np.generic]]
    Floats = NDArray[np.float32]

_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})


@dataclass(frozen=True)
class FloatMeans:
    """A few samples, and each convolution's mean over all of them, a number a channel: [1, C, 1, ...]."""

    feeds: tuple[Feeds, ...]
    means: Mapping[str, Floats]


def measure_means(plain: ir.Model, feeds: Sequence[Feeds]) -> FloatMeans:
    """What the float model's convolutions with a constant bias give on `feeds`.

    Empty where it has none, without samples, and where an If, Loop or Scan takes part. Raises ModelError
    where ONNX Runtime cannot run the model.
    """
    found = [node for node in plain.graph if _has_bias(node)]
    if not found or not feeds or any(node.op_type in CONTROL_FLOW for node in plain.graph):
        return FloatMeans((), {})
    copies = _Copies(plain.graph, 1)
    for node in _up_to(found[-1], plain.graph):
        copies.add(node)
        if node in found:
            weight = constant_array(node.inputs[1])
            copies.tell(node, 4 if weight is None else weight.ndim)
    session, outputs = copies.open(plain)
    sums = [np.zeros(1, np.float32)] * len(found)
    for feed in feeds:
        results = _run(session, outputs, {f"{name}#0": array for name, array in feed.items()})
        sums = [total + result for total, result in zip(sums, results, strict=True)]
    names = [str(node.name) for node in found]
    means = [total / np.float32(len(feeds)) for total in sums]
    return FloatMeans(tuple(feeds), dict(zip(names, means, strict=True)))


def measure_errors(
    floats: FloatMeans, quantized: ir.Model, running: ir.Model | None = None
) -> dict[str, Floats]:
    """Convolution -> mean of (float - quantized) of each output channel [C], all earlier ones mended.

    Nodes are paired by name; those with int8 weights count. Empty where there are none. running: what runs
    in the graph's place, its nodes and more. Raises ModelError where ONNX Runtime cannot run the graph.
    """
    counted = {node.name for node in quantized.graph if node.name in floats.means and _reads_integers(node)}
    running = running or quantized
    pairs = [node for node in running.graph if node.name in counted]
    if not pairs:
        return {}
    copies = _Copies(running.graph, len(floats.feeds))
    for node in _up_to(pairs[-1], running.graph):
        copies.add(node)
        if node in pairs:
            copies.mend(node, floats.means[str(node.name)])
    feeds = {
        f"{name}#{copy}": array for copy, feed in enumerate(floats.feeds) for name, array in feed.items()
    }
    results = _run(*copies.open(running), feeds)
    return {str(node.name): np.ravel(result) for node, result in zip(pairs, results, strict=True)}


def _has_bias(node: ir.Node) -> bool:
    return node.op_type in _CONVOLUTIONS and not node.domain and constant_array(input_of(node, 2)) is not None


def _reads_integers(node: ir.Node) -> bool:
    weight = input_of(node, 1)
    producer = None if weight is None else weight.producer()
    return producer is not None and producer.op_type == "DequantizeLinear"


def _up_to(last: ir.Node, graph: ir.Graph) -> Iterator[ir.Node]:
    for node in graph:
        yield node
        if node is last:
            return


def _run(session: OpenSession, outputs: Sequence[str], feeds: Feeds) -> list[Floats]:
    try:
        return session.run(outputs, feeds)
    except RUN_FAILURES as error:
        raise ModelError(
            f"ONNX Runtime cannot run the model beside its Q/DQ form: {str(error).splitlines()[0]}",
            fix="check that every calibration sample runs with `edgekit calibrate`",
        ) from error


class _Copies:
    """Copies the nodes of one graph, once a sample; what depends on constants alone is copied once."""

    def __init__(self, graph: ir.Graph, count: int) -> None:
        self._opset = graph.opset_imports.get("", 17)
        self._made: list[dict[ir.Value, ir.Value]] = [{} for _ in range(count)]
        self._inputs: list[ir.Value] = []
        self._constants: dict[ir.Value, ir.Value] = {}
        self._shared: dict[ir.Value, ir.Value] = {}
        self._nodes: list[ir.Node] = []
        self._outputs: list[ir.Value] = []
        for value in graph.inputs:
            for copy, made in enumerate(self._made):
                made[value] = ir.Value(name=f"{value.name}#{copy}", type=value.type, shape=value.shape)
                self._inputs.append(made[value])

    def add(self, node: ir.Node) -> None:
        """One node, for every sample or once for all."""
        fixed = all(
            value is None or value in self._shared or value.const_value is not None for value in node.inputs
        )
        for made in [self._shared] if fixed else self._made:
            inputs = [None if value is None else self._find(value, made) for value in node.inputs]
            outputs = self._emit(node.op_type, inputs, node)
            made.update(zip(node.outputs, outputs, strict=True))

    def tell(self, node: ir.Node, rank: int) -> None:
        """Let the mean of each channel of a result be an output."""
        self._outputs.append(self._mean(node.outputs[0], rank))

    def mend(self, node: ir.Node, target: Floats) -> None:
        """Take the difference of a convolution's mean to `target` out of every copy, and tell it."""
        value = node.outputs[0]
        (error,) = self._emit("Sub", [self._constant(target), self._mean(value, target.ndim)])
        self._outputs.append(error)
        for made in self._made:
            made[value] = self._emit("Add", [made[value], error])[0]

    def open(self, like: ir.Model) -> tuple[OpenSession, list[str]]:
        """A session, with the opset of `like`, and the outputs it was told to give."""
        for value in self._outputs:
            value.type = ir.TensorType(ir.DataType.FLOAT)
        graph = ir.Graph(
            self._inputs,
            self._outputs,
            nodes=self._nodes,
            initializers=list(self._constants.values()),
            opset_imports=dict(like.graph.opset_imports),
            name="copies",
        )
        session = open_session(ir.Model(graph, ir_version=like.ir_version))
        return session, [str(value.name) for value in self._outputs]

    def _mean(self, value: ir.Value, rank: int) -> ir.Value:
        """The mean of each channel over all copies; dims stay."""
        axes = [axis for axis in range(rank) if axis != 1]
        means = [self._average(made[value], axes) for made in self._made]
        return self._emit("Mean", means)[0]

    def _average(self, value: ir.Value, axes: list[int]) -> ir.Value:
        """Over `axes`, which are an attribute up to opset 17 and an input after."""
        if self._opset < 18:
            return self._emit("ReduceMean", [value], axes=axes, keepdims=1)[0]
        return self._emit("ReduceMean", [value, self._constant(np.array(axes, np.int64))], keepdims=1)[0]

    def _constant(self, array: np.ndarray) -> ir.Value:
        value = initializer_from(ir.Tensor(array), f"number{len(self._constants)}")
        self._constants[value] = value
        return value

    def _find(self, value: ir.Value, made: Mapping[ir.Value, ir.Value]) -> ir.Value:
        if value in made:
            return made[value]
        if value in self._shared:
            return self._shared[value]
        if value not in self._constants:
            tensor = value.const_value
            if tensor is None:
                raise TypeError(f"tensor '{value.name}' is read before it is made")
            self._constants[value] = initializer_from(tensor, f"constant{len(self._constants)}")
        return self._constants[value]

    def _emit(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        like: ir.Node | None = None,
        **attributes: int | list[int],
    ) -> Sequence[ir.Value]:
        """The outputs of a new node; domain, attributes and number of outputs from `like` where given."""
        name = f"{op_type}{len(self._nodes)}"
        if like is None:
            node = ir.node(op_type, inputs, attributes, name=name)
        else:
            kept = list(like.attributes.values())
            node = ir.Node(like.domain, op_type, inputs, kept, name=name, num_outputs=len(like.outputs))
        for index, output in enumerate(node.outputs):
            unused = like is not None and not like.outputs[index].name
            output.name = "" if unused else f"{name}/{index}"
        self._nodes.append(node)
        return node.outputs

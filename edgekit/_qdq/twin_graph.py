"""One graph in which a float model and its Q/DQ form run side by side over several samples at once.

Behind each convolution the mean difference of the two, over all samples and positions of a channel, is
taken out of the Q/DQ form before it goes on, and is an output of the graph. So each convolution shows
the error that is left once all before it are mended: one run gives what else takes one run a layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.calibration.open_session import RUN_FAILURES, open_session
from edgekit.errors import ModelError
from edgekit.passes._rewire import CONTROL_FLOW, constant_array, initializer_from, input_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Feeds = Mapping[str, NDArray[np.generic]]
    Floats = NDArray[np.float32]

_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})


def measure_errors(plain: ir.Model, quantized: ir.Model, samples: Sequence[Feeds]) -> dict[str, Floats]:
    """Convolution -> mean of (plain - quantized) of each output channel [C], all earlier ones mended.

    Nodes are paired by name; those with int8 weights and a constant bias count. Empty where there are
    none, without samples, and where an If, Loop or Scan takes part. Raises ModelError where ONNX Runtime
    cannot run the two.
    """
    pairs = _pair_convolutions(plain, quantized)
    branching = any(node.op_type in CONTROL_FLOW for model in (plain, quantized) for node in model.graph)
    if branching or not pairs or not samples:
        return {}
    model = _build(plain, quantized, pairs=pairs, copies=len(samples))
    feeds = {f"{name}#{copy}": array for copy, feed in enumerate(samples) for name, array in feed.items()}
    outputs = [str(value.name) for value in model.graph.outputs]
    try:
        results = open_session(model).run(outputs, feeds)
    except RUN_FAILURES as error:
        raise ModelError(
            f"ONNX Runtime cannot run the model beside its Q/DQ form: {str(error).splitlines()[0]}",
            fix="check that every calibration sample runs with `edgekit calibrate`",
        ) from error
    return {str(node.name): np.ravel(result) for node, result in zip(pairs, results, strict=True)}


def _pair_convolutions(plain: ir.Model, quantized: ir.Model) -> dict[ir.Node, ir.Node]:
    """Each Q/DQ convolution whose bias can be changed -> the float one of the same name, in graph order."""
    twins = {node.name: node for node in plain.graph if _has_bias(node)}
    return {
        node: twins[node.name] for node in quantized.graph if node.name in twins and _reads_integers(node)
    }


def _has_bias(node: ir.Node) -> bool:
    return node.op_type in _CONVOLUTIONS and not node.domain and constant_array(input_of(node, 2)) is not None


def _reads_integers(node: ir.Node) -> bool:
    weight = input_of(node, 1)
    producer = None if weight is None else weight.producer()
    return producer is not None and producer.op_type == "DequantizeLinear"


def _build(
    plain: ir.Model, quantized: ir.Model, *, pairs: Mapping[ir.Node, ir.Node], copies: int
) -> ir.Model:
    """Node by node in an order that keeps few tensors alive: the float model runs just as far ahead."""
    twins = _Twins(copies, quantized.graph.opset_imports.get("", 17))
    for model in (plain, quantized):
        twins.add_inputs(model.graph)
    ahead = iter(plain.graph)
    last = list(pairs)[-1]
    for node in quantized.graph:
        twins.add(node)
        if node in pairs:
            for other in ahead:
                twins.add(other)
                if other is pairs[node]:
                    break
            twins.mend(node, pairs[node])
        if node is last:
            break
    return twins.finish(quantized)


class _Twins:
    """Copies nodes of both models, once a sample; what depends on constants alone is copied once."""

    def __init__(self, copies: int, opset: int) -> None:
        self._opset = opset
        self._made: list[dict[ir.Value, ir.Value]] = [{} for _ in range(copies)]
        self._inputs: dict[str, ir.Value] = {}
        self._constants: dict[ir.Value, ir.Value] = {}
        self._shared: dict[ir.Value, ir.Value] = {}
        self._nodes: list[ir.Node] = []
        self._outputs: list[ir.Value] = []

    def add_inputs(self, graph: ir.Graph) -> None:
        """The inputs of a graph, one a sample; both models read the same ones."""
        for value in graph.inputs:
            for copy, made in enumerate(self._made):
                name = f"{value.name}#{copy}"
                if name not in self._inputs:
                    self._inputs[name] = ir.Value(name=name, type=value.type, shape=value.shape)
                made[value] = self._inputs[name]

    def add(self, node: ir.Node) -> None:
        """One node, for every sample or once for all."""
        fixed = all(
            value is None or value in self._shared or value.const_value is not None for value in node.inputs
        )
        for made in [self._shared] if fixed else self._made:
            inputs = [None if value is None else self._find(value, made) for value in node.inputs]
            outputs = self._emit(node.op_type, inputs, node)
            made.update(zip(node.outputs, outputs, strict=True))

    def mend(self, node: ir.Node, plain: ir.Node) -> None:
        """Take the mean difference out of a convolution's result, in every copy, and tell it."""
        weight = constant_array(plain.inputs[1])
        rank = 4 if weight is None else weight.ndim
        means, value = [], node.outputs[0]
        for made in self._made:
            difference = self._emit("Sub", [made[plain.outputs[0]], made[value]])[0]
            means.append(self._average(difference, [axis for axis in range(rank) if axis != 1]))
        (mean,) = self._emit("Mean", means)
        mean.type = ir.TensorType(ir.DataType.FLOAT)
        self._outputs.append(mean)
        for made in self._made:
            made[value] = self._emit("Add", [made[value], mean])[0]

    def finish(self, like: ir.Model) -> ir.Model:
        """The model, with the opset of `like`."""
        graph = ir.Graph(
            list(self._inputs.values()),
            self._outputs,
            nodes=self._nodes,
            initializers=list(self._constants.values()),
            opset_imports=dict(like.graph.opset_imports),
            name="twins",
        )
        return ir.Model(graph, ir_version=like.ir_version)

    def _average(self, value: ir.Value, axes: list[int]) -> ir.Value:
        """Mean over `axes`, which are an attribute up to opset 17 and an input after; dims stay."""
        if self._opset < 18:
            return self._emit("ReduceMean", [value], axes=axes, keepdims=1)[0]
        return self._emit("ReduceMean", [value, self._numbers(axes)], keepdims=1)[0]

    def _numbers(self, numbers: list[int]) -> ir.Value:
        name = f"numbers{len(self._constants)}"
        value = initializer_from(ir.tensor(np.array(numbers, np.int64), name=name), name)
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

"""A prepared ONNX model -> a LiteRT graph and the gaps: every node that has no form there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgekit._lowering import Refused
from edgekit._values import Gap
from edgekit.passes._rewire import CONTROL_FLOW, constant_array, static_shape
from edgekit.passes.deciding_inputs import CHOSEN_AT_RUN_TIME, bind_deciding_inputs
from edgekit.passes.fuse_hardswish import fuse_hardswish
from edgekit.targets.litert.absorb_qdq import absorb_qdq, int8_table
from edgekit.targets.litert.absorb_weights import absorb_weights
from edgekit.targets.litert.call import RULES, Call
from edgekit.targets.litert.graph import DTYPES, Graph, Quant, Tensor, constant
from edgekit.targets.litert.polish import polish
from edgekit.targets.litert.refused import refusal
from edgekit.targets.litert.rules import load_rules
from edgekit.targets.litert.to_channels_last import to_channels_last

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from edgekit._values import Component

TARGET = "litert"
_KEEP_OUT = "replace the node before export, or build this model for another target"


@dataclass(frozen=True)
class Lowered:
    """The graph (complete only where `gaps` is empty) and what had no form.

    tensors: the model's own tensor names -> the graph's tensors that hold them. orders: of those whose axes
    lie in another order, logical axis i at the tensor's axis orders[name][i].
    """

    graph: Graph
    gaps: tuple[Gap, ...]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    orders: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def lower_component(component: Component) -> Lowered:
    """Lower a clone of the component; nothing is written and no toolchain is needed."""
    load_rules()
    gaps = _shape_gaps(component)
    if gaps:
        return Lowered(Graph(), gaps)
    keep_float: set[str] = set()
    while True:
        lowering = _lower(component, keep_float)
        if lowering.no_int8_form <= keep_float:
            break
        keep_float |= lowering.no_int8_form
    if not lowering.gaps:
        polish(lowering.graph)
    return Lowered(
        lowering.graph, tuple(lowering.gaps), lowering.named_tensors(component.model), lowering.orders
    )


def _lower(component: Component, keep_float: set[str]) -> _Lowering:
    model = component.model.clone()
    fuse_hardswish(model)
    orders = to_channels_last(model)
    quants = absorb_qdq(model, keep_float)
    lowering = _Lowering(component.name, model, quants | absorb_weights(model))
    lowering.orders = orders
    lowering.run()
    return lowering


def _shape_gaps(component: Component) -> tuple[Gap, ...]:
    """Inputs without fixed dims; where those are fixed, nodes whose result still has none."""
    gaps = []
    for value in component.model.graph.inputs:
        if static_shape(value) is None:
            rule = f"input '{value.name}' has the shape {_words(value)}, and LiteRT needs fixed sizes"
            gaps.append(_gap(component.name, "", "input", rule, f"add --shape {value.name}=N,N,..."))
    if gaps:
        return tuple(gaps)
    for node in component.model.graph:
        if node.op_type in CONTROL_FLOW:
            way_out = bind_deciding_inputs(component.model.graph, node)
            gaps.append(_gap(component.name, node.name or "", node.op_type, CHOSEN_AT_RUN_TIME, way_out))
            continue
        for value in node.outputs:
            if value.name and (static_shape(value) is None or value.dtype is None):
                known = refusal(node) or Refused(
                    f"its result '{value.name}' has no fixed shape or dtype ({_words(value)})",
                    "export with shapes that follow from the input shapes alone",
                )
                gap = _gap(component.name, node.name or "", node.op_type, known.rule, known.way_out)
                gaps.append(gap)
                break
    return tuple(gaps)


def _words(value: ir.Value) -> str:
    return "unknown" if value.shape is None else str(value.shape)


def _gap(component: str, node: str, op: str, rule: str, way_out: str) -> Gap:
    return Gap(TARGET, component, node, op, rule, way_out or _KEEP_OUT)


class _Lowering:
    """Runs the rule of every node in order."""

    def __init__(self, name: str, model: ir.Model, quants: dict[ir.Value, Quant]) -> None:
        self.name = name
        self.model = model
        self.quants = quants
        self.graph = Graph()
        self.gaps: list[Gap] = []
        self.no_int8_form: set[str] = set()
        self.tensors: dict[ir.Value, Tensor] = {}
        self.orders: dict[str, tuple[int, ...]] = {}

    def run(self) -> None:
        for value in self.model.graph.inputs:
            tensor = self._blank(value)
            tensor.name = value.name or ""
            self.tensors[value] = tensor
            self.graph.inputs.append(tensor)
            self._check_io(value, tensor)
        for node in self.model.graph:
            try:
                self._lower(node)
            except Refused as refused:
                gap = _gap(self.name, node.name or "", node.op_type, refused.rule, refused.way_out)
                self.gaps.append(gap)
                if node.op_type in int8_table() and any(value in self.quants for value in node.outputs):
                    self.no_int8_form.add(node.name or "")
                for value in node.outputs:
                    self.tensors[value] = self._blank(value)
        if not self.gaps:
            self._finish()

    def _check_io(self, value: ir.Value, tensor: Tensor) -> None:
        if tensor.dtype not in DTYPES or tensor.dtype in ("float16", "int4"):
            rule = f"'{value.name}' is {tensor.dtype}, which LiteRT's kernels do not compute on"
            self.gaps.append(_gap(self.name, "", "io", rule, "export the model in float32"))

    def _lower(self, node: ir.Node) -> None:
        found = RULES.find(node)
        if found is None:
            raise refusal(node) or Refused("edgekit has no LiteRT form of this op")
        unknown = sorted(set(node.attributes) - found.attributes)
        if unknown:
            raise Refused(f"attribute '{unknown[0]}' has no LiteRT form")
        inputs = [None if value is None else self._tensor(value) for value in node.inputs]
        outs = [self._blank(value) for value in node.outputs if value.name]
        if outs and all(0 in tensor.shape for tensor in outs):
            made: Tensor | Sequence[Tensor] = [_empty(tensor) for tensor in outs]
            self._keep(node, made, outs)
            return
        empty = any(item is not None and item.data is None and 0 in item.shape for item in inputs)
        if empty:
            raise Refused("a tensor without elements has no LiteRT form")
        for tensor in outs:
            if tensor.dtype not in DTYPES:
                raise Refused(f"LiteRT's kernels do not compute on {tensor.dtype}", "export in float32")
        made = found.rule(Call(node, self.graph, inputs, outs))
        self._keep(node, made, outs)

    def _keep(self, node: ir.Node, made: Tensor | Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        """Results must be what ONNX says they are: shape, dtype and scale."""
        results: Sequence[Tensor] = [made] if isinstance(made, Tensor) else made
        for value, tensor, out in zip((v for v in node.outputs if v.name), results, outs, strict=True):
            if tensor.shape != out.shape or tensor.dtype != out.dtype:
                raise Refused(
                    f"the rule makes {tensor.dtype}{list(tensor.shape)} of {out.dtype}{list(out.shape)}",
                    "report this as a defect of edgekit",
                )
            if out.quant is not None and tensor.quant != out.quant:
                raise Refused(
                    "the int8 result has another scale than the graph says", "keep it out with --float"
                )
            self.tensors[value] = tensor

    def _tensor(self, value: ir.Value) -> Tensor:
        if value not in self.tensors:
            array = constant_array(value)
            if array is None:
                raise Refused(f"input '{value.name}' comes from nowhere")
            self.tensors[value] = constant(array, self.quants.get(value))
        return self.tensors[value]

    def _blank(self, value: ir.Value) -> Tensor:
        dtype = "unknown" if value.dtype is None else _numpy_name(value.dtype)
        return Tensor(static_shape(value) or (), dtype, None, self.quants.get(value))

    def _finish(self) -> None:
        """Name the outputs; one that is an input, a constant or another output gets a tensor of its own."""
        for value in self.model.graph.outputs:
            tensor = self._tensor(value)
            if tensor.data is not None or tensor in self.graph.inputs or tensor in self.graph.outputs:
                tensor = self._copied(tensor)
            tensor.name = value.name or ""
            self._check_io(value, tensor)
            self.graph.outputs.append(tensor)

    def named_tensors(self, source: ir.Model) -> dict[str, Tensor]:
        """What the graph computes under the names of the source; what was fused away has none."""
        names = {value.name for node in source.graph for value in node.outputs if value.name}
        made = {tensor for operator in self.graph.operators for tensor in operator.outputs}
        return {
            value.name: tensor
            for value, tensor in self.tensors.items()
            if value.name in names and tensor in made
        }

    def _copied(self, tensor: Tensor) -> Tensor:
        out = Tensor(tensor.shape, tensor.dtype, None, tensor.quant)
        shape = constant(np.asarray(tensor.shape, np.int32))
        return self.graph.add(
            "RESHAPE", [tensor, shape], out, {"newShape": np.asarray(tensor.shape, np.int32)}
        )


def _empty(tensor: Tensor) -> Tensor:
    """A result without elements needs no computing."""
    return constant(np.empty(tensor.shape, tensor.dtype), tensor.quant)


def _numpy_name(dtype: ir.DataType) -> str:
    try:
        return str(dtype.numpy().name)
    except TypeError:
        return str(dtype.name).lower()

"""A prepared ONNX model -> a MIL graph and the gaps: every node that has no form there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from edgekit._lowering import Refused
from edgekit._values import Gap
from edgekit.passes._rewire import CONTROL_FLOW, constant_array
from edgekit.passes.deciding_inputs import CHOSEN_AT_RUN_TIME, bind_deciding_inputs
from edgekit.targets.coreml.call import RULES, Call
from edgekit.targets.coreml.graph import MOST_DIMS, Graph, Tensor, constant, mil_dtype
from edgekit.targets.coreml.rules import load_rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgekit._values import Component
    from edgekit.targets.coreml.graph import Shape

TARGET = "coreml"
_KEEP_OUT = "replace the node before export, or build this model for another target"
# What a Core ML model takes and gives; everything else is cast at the border.
IO_DTYPES = frozenset(("float32", "int32"))
_CAST_AT_BORDER = frozenset(("bool", "int8", "uint8", "int16", "uint16"))


@dataclass(frozen=True)
class Lowered:
    """The graph (complete only where `gaps` is empty) and what had no form."""

    graph: Graph
    gaps: tuple[Gap, ...]


def lower_component(component: Component, level: int) -> Lowered:
    """Lower a clone of the component for a deployment target (17 in iOS17); needs no toolchain."""
    load_rules()
    lowering = _Lowering(component.name, component.model.clone(), level)
    gaps = _control_gaps(component)
    if not gaps:
        lowering.run()
    return Lowered(lowering.graph, (*gaps, *lowering.gaps))


def _control_gaps(component: Component) -> tuple[Gap, ...]:
    graph = component.model.graph
    found = [node for node in graph if node.op_type in CONTROL_FLOW]
    return tuple(
        Gap(
            TARGET,
            component.name,
            node.name or "",
            node.op_type,
            CHOSEN_AT_RUN_TIME,
            bind_deciding_inputs(graph, node),
        )
        for node in found
    )


class _Lowering:
    """Runs the rule of every node in order."""

    def __init__(self, name: str, model: ir.Model, level: int) -> None:
        self.name = name
        self.model = model
        self.level = level
        self.graph = Graph()
        self.gaps: list[Gap] = []
        self.tensors: dict[ir.Value, Tensor] = {}

    def run(self) -> None:
        for value in self.model.graph.inputs:
            self._guard("input", value.name or "", lambda value=value: self._take_input(value))
        for node in self.model.graph:
            if not self._guard(node.op_type, node.name or "", lambda node=node: self._lower(node)):
                for value in node.outputs:
                    self.tensors[value] = _blank(value)
        for value in self.model.graph.outputs:
            if not self.gaps:
                self._guard("output", value.name or "", lambda value=value: self._give_output(value))

    def _guard(self, op: str, node: str, work: object) -> bool:
        """Whether the work was done; what it refuses becomes a gap."""
        assert callable(work)
        try:
            work()
        except Refused as refused:
            rule, way_out = refused.rule, refused.way_out or _KEEP_OUT
        except (ArithmeticError, IndexError, TypeError, ValueError) as error:
            # Attributes and shapes come from anybody's file: what no rule foresaw stops the node alone.
            rule = f"edgekit cannot read its attributes, shapes or constants ({str(error)[:120]})"
            way_out = "check the file with `python -m onnx.checker`; report it if it is sound"
        else:
            return True
        self.gaps.append(Gap(TARGET, self.name, node, op, rule, way_out))
        return False

    def _take_input(self, value: ir.Value) -> None:
        """A placeholder of a dtype that Core ML takes, cast to the model's own behind it."""
        tensor = _blank(value)
        self.tensors[value] = tensor
        if value.shape is None:
            raise Refused("it has no shape", f"add --shape {value.name}=N,N,...")
        border = _at_border(tensor)
        border.name = value.name or ""
        self.graph.inputs.append(border)
        self.tensors[value] = self._carry(border, tensor)

    def _give_output(self, value: ir.Value) -> None:
        tensor = self._tensor(value)
        border = _at_border(tensor)
        taken = tensor.is_constant or tensor in self.graph.inputs or tensor in self.graph.outputs
        made = self._carry(tensor, border)
        if made is tensor and taken:
            made = Tensor(tensor.shape, tensor.dtype)
            self.graph.add("identity", {"x": tensor}, [made])
        made.name = value.name or ""
        self.graph.outputs.append(made)

    def _carry(self, source: Tensor, wanted: Tensor) -> Tensor:
        """The source in the wanted dtype and rank (Core ML's borders have no rank 0)."""
        call = _border_call(self.graph, self.level)
        moved = source
        if source.rank != wanted.rank:
            moved = call.reshape(source, wanted.shape) if wanted.rank else _squeezed(call, source)
        return call.cast(moved, wanted.dtype)

    def _lower(self, node: ir.Node) -> None:
        found = RULES.find(node)
        if found is None or node.domain not in ("", "ai.onnx"):
            raise Refused("edgekit has no Core ML form of this op")
        unknown = sorted(set(node.attributes) - found.attributes)
        if unknown:
            raise Refused(f"attribute '{unknown[0]}' has no Core ML form")
        unknown_shape = next((value for value in node.outputs if value.name and value.shape is None), None)
        if unknown_shape is not None:
            raise Refused(
                f"the rank of its result '{unknown_shape.name}' is not known",
                "export with shapes that follow from the input shapes",
            )
        inputs = [None if value is None else self._tensor(value) for value in node.inputs]
        outs = [_blank(value) for value in node.outputs if value.name]
        _refuse_sizes([*filter(None, inputs), *(out for out in outs if 0 not in out.shape)])
        if outs and all(0 in out.shape for out in outs):
            self._keep(node, [constant(np.empty(out.sizes, out.dtype)) for out in outs], outs)
            return
        call = Call(node, self.graph, inputs=inputs, outs=outs, level=self.level)
        self._keep(node, found.rule(call), outs)

    def _keep(self, node: ir.Node, made: Tensor | Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        """Results must be what ONNX says they are: shape and dtype."""
        results: Sequence[Tensor] = [made] if isinstance(made, Tensor) else made
        for value, tensor, out in zip((v for v in node.outputs if v.name), results, outs, strict=True):
            if not _agrees(tensor.shape, out.shape) or tensor.dtype != out.dtype:
                raise Refused(
                    f"the rule makes {tensor.dtype}{list(tensor.shape)} of {out.dtype}{list(out.shape)}",
                    "report this as a defect of edgekit",
                )
            if not tensor.name and not tensor.is_constant:
                tensor.name = value.name or ""
            self.tensors[value] = tensor

    def _tensor(self, value: ir.Value) -> Tensor:
        if value not in self.tensors:
            array = constant_array(value)
            if array is None:
                raise Refused(f"input '{value.name}' comes from nowhere")
            self.tensors[value] = constant(_readable(array, value.name or ""))
        return self.tensors[value]


def _readable(array: NDArray[Any], name: str) -> NDArray[Any]:
    """A constant in a dtype that numpy computes with: small floats become float32, small integers 8-bit."""
    word = array.dtype.name
    if word.startswith(_SMALL_FLOATS):
        return array.astype(np.float32)
    if word in _SMALL_INTEGERS:
        return array.astype(_SMALL_INTEGERS[word])
    if array.dtype.kind not in "fiub" or array.dtype == np.float64:
        raise Refused(f"the constant '{name}' is {word}", "export the model in float32")
    return array


_SMALL_FLOATS = ("bfloat16", "float16", "float4", "float8")
_SMALL_INTEGERS = {"int2": np.int8, "int4": np.int8, "uint2": np.uint8, "uint4": np.uint8}


def _blank(value: ir.Value) -> Tensor:
    dtype = "unknown" if value.dtype is None else mil_dtype(numpy_name(value.dtype))
    dims: list[int | str] = []
    for axis, dim in enumerate(value.shape or ()):
        dims.append(dim if isinstance(dim, int) else dim.value or f"{value.name}.{axis}")
    return Tensor(tuple(dims), dtype)


def numpy_name(dtype: ir.DataType) -> str:
    """numpy's name of an ONNX dtype; ONNX's own where numpy has none, or only `object`."""
    try:
        name = str(dtype.numpy().name)
    except TypeError:
        name = "object"
    return str(dtype.name).lower() if name == "object" else name


def _at_border(tensor: Tensor) -> Tensor:
    """The same tensor as an input or output of a Core ML model can be."""
    if tensor.dtype not in IO_DTYPES | _CAST_AT_BORDER:
        text = "do the text's part in your app, and export the model from numbers on"
        way_out = text if tensor.dtype == "string" else "export the model in float32"
        raise Refused(f"it is {tensor.dtype}, which Core ML cannot hold", way_out)
    _refuse_sizes([Tensor(tensor.shape, tensor.dtype)])
    dtype = tensor.dtype if tensor.dtype in IO_DTYPES else "int32"
    return Tensor(tensor.shape or (1,), dtype)


def _squeezed(call: Call, source: Tensor) -> Tensor:
    return call.add("squeeze", (), x=source, axes=[0])


def _border_call(graph: Graph, level: int) -> Call:
    """A call for what stands at the model's borders, outside of any node."""
    return Call(ir.node("Identity", []), graph, inputs=(), outs=(), level=level)


def _refuse_sizes(tensors: Sequence[Tensor]) -> None:
    for tensor in tensors:
        if tensor.rank > MOST_DIMS:
            raise Refused(
                f"a tensor of rank {tensor.rank} {list(tensor.shape)}; Core ML ends at {MOST_DIMS} dims",
                "merge dims before export",
            )
        if 0 in tensor.shape and not tensor.is_constant:
            raise Refused(
                f"a tensor without elements {list(tensor.shape)} has no Core ML form",
                "give shapes with at least one element",
            )


def _agrees(made: Shape, wanted: Shape) -> bool:
    """Same rank, and the same number wherever both dims are numbers."""
    return len(made) == len(wanted) and all(
        a == b or isinstance(a, str) or isinstance(b, str) for a, b in zip(made, wanted, strict=True)
    )

"""Pairs of an input and an output (past and present keys, values, hidden states) that become states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.errors import UsageError
from edgekit.passes._rewire import static_shape
from edgekit.targets.coreml.graph import Operator, Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from edgekit._values import Component
    from edgekit.targets.coreml.graph import Graph

FIRST_LEVEL = 18
# The only dtype that Core ML's states have (coremltools 9.0's serializer says so).
DTYPE = "float16"
FLOATS = ("FLOAT", "FLOAT16")


def check_states(component: Component, states: Mapping[str, str]) -> None:
    """UsageError for a pair that is no state: both must be float tensors of one fixed shape, named once."""
    graph = component.model.graph
    inputs, outputs = (
        {value.name or "": value for value in values} for values in (graph.inputs, graph.outputs)
    )
    for kind, known, wanted in (("input", inputs, states), ("output", outputs, states.values())):
        for name in wanted:
            if name not in known:
                raise UsageError(
                    f"option states: the model has no {kind} '{name}'", fix=f"name one of: {', '.join(known)}"
                )
    if len(set(states.values())) < len(states):
        raise UsageError("option states names one output for two inputs", fix="give each input its own")
    if states and set(outputs) == set(states.values()):
        raise UsageError("option states leaves the model no output", fix="keep one output out of it")
    for name, result in states.items():
        _check_pair(inputs[name], outputs[result])


def _check_pair(source: ir.Value, result: ir.Value) -> None:
    shapes = [static_shape(value) for value in (source, result)]
    floats = all(value.dtype is not None and value.dtype.name in FLOATS for value in (source, result))
    if shapes[0] is None or shapes[0] != shapes[1] or not shapes[0] or not floats:
        words = " and ".join(
            f"'{v.name}' {v.dtype.name if v.dtype else '?'} {v.shape}" for v in (source, result)
        )
        raise UsageError(
            f"option states: {words} are no state: it keeps its shape, of fixed sizes, and is float",
            fix="export with a cache of fixed size, in which each step overwrites its places",
        )


def hold_states(graph: Graph, states: Mapping[str, str]) -> None:
    """Inputs named in `states` become states, read at the beginning; their outputs are written to them."""
    starts = list[Operator]()
    for name, result in states.items():
        old = next(tensor for tensor in graph.inputs if tensor.name == name)
        new = next(tensor for tensor in graph.outputs if tensor.name == result)
        state = Tensor(old.shape, DTYPE, name=name)
        graph.inputs.remove(old)
        graph.outputs.remove(new)
        graph.states.append(state)
        held, rounded = Tensor(old.shape, DTYPE), Tensor(new.shape, DTYPE)
        old.name = ""
        starts.append(Operator("read_state", {"input": state}, (held,)))
        starts.append(Operator("cast", {"x": held, "dtype": "fp32"}, (old,)))
        graph.add("cast", {"x": new, "dtype": "fp16"}, [rounded])
        graph.add("coreml_update_state", {"state": state, "value": rounded}, [Tensor(new.shape, DTYPE)])
    graph.operators[:0] = starts

"""Which inputs of a model choose its branches, and how a user fixes them: the words every refusal uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.passes._rewire import CONTROL_FLOW

if TYPE_CHECKING:
    import onnx_ir as ir

CHOSEN_AT_RUN_TIME = "its branches or body are chosen at run time"


def bind_deciding_inputs(graph: ir.Graph, node: ir.Node | None = None) -> str:
    """The way out for the node (None: every control-flow node of the graph), naming what to bind."""
    names = deciding_inputs(graph, node)
    options = " ".join(f"--bind {name}=VALUE" for name in names) or "--bind NAME=VALUE"
    decides = "the inputs that decide" if len(names) > 1 else "the input that decides"
    return f"bind {decides} it ({options}), or export without control flow"


def deciding_inputs(graph: ir.Graph, node: ir.Node | None = None) -> list[str]:
    """Inputs that the first operand (condition, trip count) hangs on, in the graph's order."""
    nodes = [item for item in graph if item.op_type in CONTROL_FLOW] if node is None else [node]
    waiting = [value for item in nodes for value in item.inputs[:1] if value is not None]
    seen: set[ir.Value] = set()
    while waiting:
        value = waiting.pop()
        if value not in seen:
            seen.add(value)
            producer = value.producer()
            waiting += [] if producer is None else [item for item in producer.inputs if item is not None]
    return [value.name or "" for value in graph.inputs if value in seen]

"""The last Softmax or Sigmoid of a graph -> float32 on the CPU, behind the context in the same ONNX file.

The HTP computes it in float16: three digits, where a Q/DQ graph that is within a decibel of the HTP's scores
has seven. Of a few thousand numbers it costs a CPU some microseconds, and the scores leave the HTP as the
codes they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit._qdq.find_tail import computed_inputs
from edgekit.passes._rewire import Names, constant_tensor
from edgekit.passes.remove_unused import remove_unused
from edgekit.passes.serialize_model import serialize_model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Opset 21's, the highest that this target asks for; phones' onnxruntime may be years behind this host's.
_IR_VERSION = 10


def cut_tail(model: ir.Model, tail: Sequence[ir.Node]) -> ir.Model:
    """A clone that ends in what the tail reads."""
    gone = {node.outputs[0].name for node in tail}
    entries = dict.fromkeys(value.name for node in tail for value in computed_inputs(node))
    clone = model.clone()
    graph = clone.graph
    values = {value.name: value for node in graph for value in node.outputs}
    kept = [value for value in graph.outputs if value.name not in gone]
    names = {value.name for value in kept}
    kept += [values[name] for name in entries if name not in gone | names]
    graph.outputs[:] = kept
    remove_unused(clone)
    return clone


def finish_context(path: Path, model: ir.Model, tail: Sequence[ir.Node]) -> None:
    """Put the tail of `model` behind the context in the file `path`, for older onnxruntimes too."""
    context = ir.load(path)
    if tail:
        append_tail(context, model, tail)
    settle_versions(context)
    path.write_bytes(serialize_model(context))


def append_tail(context: ir.Model, model: ir.Model, tail: Sequence[ir.Node]) -> None:
    """Put the tail of `model` behind what the context gives, with the model's own outputs."""
    graph, names = context.graph, Names(context)
    made = {value.name: value for node in graph for value in node.outputs}
    for node in tail:
        inputs = [_take_input(value, made, graph, names) for value in node.inputs]
        attributes = list(node.attributes.values())
        new = ir.Node(node.domain, node.op_type, inputs, attributes, name=node.name, num_outputs=1)
        old, value = node.outputs[0], new.outputs[0]
        value.name, value.shape, value.type = old.name, old.shape, old.type
        made[old.name] = value
        graph.append(new)
    graph.outputs[:] = [made[value.name] for value in model.graph.outputs]


def settle_versions(context: ir.Model) -> None:
    """Let an older onnxruntime load the context: it is stamped with this host's newest versions.

    The IR version becomes that of its opset, and opsets of domains that no node is of go.
    """
    used = {node.domain for node in context.graph} | {""}
    for domain in set(context.opset_imports) - used:
        del context.opset_imports[domain]
    context.ir_version = min(context.ir_version, _IR_VERSION)


def _take_input(
    value: ir.Value | None, made: dict[str | None, ir.Value], graph: ir.Graph, names: Names
) -> ir.Value | None:
    """The context's own value, or a constant that is new to its graph."""
    tensor = constant_tensor(value)
    if value is None or tensor is None:
        return None if value is None else made[value.name]
    return names.add_initializer(graph, f"{value.name}/behind", tensor.numpy())

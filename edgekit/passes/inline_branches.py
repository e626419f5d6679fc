"""If with a constant condition -> the nodes of the branch taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit.passes._rewire import Names, constant_array, graph_of, graphs_of, nodes_of

if TYPE_CHECKING:
    from collections.abc import Sequence


def inline_branches(model: ir.Model, graphs: Sequence[ir.Graph] | None = None) -> int:
    """Put the taken branch of every If whose condition is constant in its place; returns how many.

    graphs: where to look; None: everywhere.
    """
    places = graphs_of(model) if graphs is None else graphs
    ready = [node for node in nodes_of(places) if _taken_branch(node) is not None]
    if not ready:
        return 0
    names = Names(model)
    inlined = 0
    for node in ready:
        branch = _taken_branch(node)
        # An If inside the other branch of one just inlined is gone with that branch.
        if branch is not None and node.graph is not None:
            _inline(node, branch, names)
            inlined += 1
    return inlined


def _taken_branch(node: ir.Node) -> ir.Graph | None:
    if node.op_type != "If" or node.domain:
        return None
    condition = constant_array(node.inputs[0])
    if condition is None or condition.size != 1:
        return None
    return node.attributes["then_branch" if condition.item() else "else_branch"].as_graph()


def _inline(node: ir.Node, branch: ir.Graph, names: Names) -> None:
    graph = graph_of(node)
    results = list(branch.outputs)
    branch.outputs.clear()
    moved = names.take_initializers(branch, graph, node.name or "If")
    results = [moved.get(value, value) for value in results]
    for inner in tuple(branch):
        branch.remove(inner)
        for output in inner.outputs:
            if output.name:
                output.name = names.free(f"{node.name or 'If'}/{output.name}")
        graph.insert_before(node, inner)
    _hand_over(node, results, graph)
    graph.remove(node, safe=True)


def _hand_over(node: ir.Node, results: Sequence[ir.Value], graph: ir.Graph) -> None:
    for output, result in zip(node.outputs, results, strict=True):
        name = output.name
        if not output.is_graph_output():
            output.replace_all_uses_with(result)
            continue
        copy = ir.node("Identity", inputs=[result], name=f"{name}/Identity")
        graph.insert_before(node, copy)
        output.replace_all_uses_with(copy.outputs[0], replace_graph_outputs=True)
        output.name = f"{name}/inlined"
        copy.outputs[0].name, copy.outputs[0].type = name, output.type

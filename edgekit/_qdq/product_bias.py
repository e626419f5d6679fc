"""Matrix products for runtimes whose integer kernels add the bias and write int8: what belongs together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import onnx_ir as ir

    from edgekit._qdq.pointwise import PointwiseChain


def split_biases(
    chains: Iterable[PointwiseChain],
) -> tuple[dict[ir.Node, ir.Node], list[PointwiseChain]]:
    """(each MatMul -> the Add of one constant a column behind it, the chains without those Adds).

    A chain of such an Add alone goes.
    """
    sums: dict[ir.Node, ir.Node] = {}
    left = []
    for chain in chains:
        add, *rest = chain.nodes
        matmul = chain.input.producer()
        if matmul is None or not _is_bias_of(add, matmul):
            left.append(chain)
            continue
        sums[matmul] = add
        if rest:
            made = add.outputs[0]
            inner = tuple(value for value in chain.inner if value is not made)
            left.append(replace(chain, nodes=tuple(rest), input=made, inner=inner))
    return sums, left


def list_feeding(graph: ir.Graph, products: Collection[ir.Node]) -> set[ir.Value]:
    """Every value that some product depends on."""
    feeding: set[ir.Value] = set()
    for node in reversed(graph):
        if node in products or not feeding.isdisjoint(node.outputs):
            feeding.update(value for value in node.inputs if value is not None)
    return feeding


def _is_bias_of(add: ir.Node, matmul: ir.Node) -> bool:
    product = matmul.outputs[0]
    if (add.op_type, matmul.op_type, matmul.domain) != ("Add", "MatMul", ""):
        return False
    weight = matmul.inputs[1]
    terms = [value for value in add.inputs if value is not product]
    if len(terms) != 1 or terms[0] is None or weight is None or weight.const_value is None:
        return False
    if len(product.uses()) != 1 or product.is_graph_output() or terms[0].const_value is None:
        return False
    shape, columns = terms[0].const_value.shape.numpy(), weight.const_value.shape.numpy()[-1]
    return bool(shape) and shape[-1] == columns == terms[0].const_value.size

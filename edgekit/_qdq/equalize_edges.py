"""Lists the activations whose channels can be scaled in front and back behind, by constants alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit._qdq.pointwise import find_chains
from edgekit.passes._rewire import constant_array, input_of, static_shape
from edgekit.passes._scale_weights import FOLDING_OPS, has_channel_bias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit._qdq.pointwise import PointwiseChain

_CLAMPS = frozenset({"Relu", "Clip"})  # fold into the quantizer: nothing may come between
HOMOGENEOUS = frozenset({"Relu", "LeakyRelu"})  # f(k x) = k f(x) for k > 0


@dataclass(frozen=True)
class Edge:
    """One activation [N, C, ...] to equalize.

    source: the Conv, ConvTranspose or Gemm whose weights take the division; None: the chain that makes
    `value` takes it in its last constants. Behind it either `chain` or depthwise convolutions read it.
    """

    value: ir.Value
    source: ir.Node | None
    chain: PointwiseChain | None = None
    depthwise: tuple[ir.Node, ...] = ()

    @property
    def scaled(self) -> tuple[ir.Value, ...]:
        """The tensors that the division reaches: `value`, and the source's own result before a Relu."""
        if self.source is None or self.source.outputs[0] is self.value:
            return (self.value,)
        return (self.source.outputs[0], self.value)


def list_edges(graph: ir.Graph) -> list[Edge]:
    """Every such activation, in graph order; none whose factors would part a weight that others read too."""
    by_input = {chain.input: chain for chain in find_chains(graph)}
    by_output = {chain.output: chain for chain in by_input.values()}
    values = [output for node in graph for output in node.outputs]
    found = (_into_chain(value, by_input) or _into_depthwise(value, by_output) for value in values)
    return [edge for edge in found if edge is not None and not _shares_weights(edge)]


def _shares_weights(edge: Edge) -> bool:
    """Whether a node elsewhere reads a weight that the edge's factors would go into."""
    nodes = (*edge.depthwise, *(() if edge.source is None else (edge.source,)))
    weights = [input_of(node, 1) for node in nodes]
    return any(reader not in nodes for weight in weights if weight is not None for reader, _ in weight.uses())


def _into_chain(value: ir.Value, by_input: Mapping[ir.Value, PointwiseChain]) -> Edge | None:
    """Conv -> value -> an activation that is more than a clamp."""
    source, chain = value.producer(), by_input.get(value)
    if chain is None or source is None or not takes_scale(source):
        return None
    if _only_op(chain) in _CLAMPS | HOMOGENEOUS:
        return None
    inside = all(reader in chain.nodes for reader, _ in value.uses())
    return Edge(value, source, chain) if inside and not value.is_graph_output() else None


def _into_depthwise(value: ir.Value, by_output: Mapping[ir.Value, PointwiseChain]) -> Edge | None:
    """Conv (-> Relu) or a chain -> value -> depthwise convolutions and nothing else."""
    readers = tuple(dict.fromkeys(reader for reader, _ in value.uses()))
    if value.is_graph_output() or not readers or not all(_is_depthwise(reader, value) for reader in readers):
        return None
    producer, chain = value.producer(), by_output.get(value)
    if producer is not None and takes_scale(producer):
        return Edge(value, producer, depthwise=readers)
    if chain is None:
        return None
    only = _only_op(chain)
    if only not in _CLAMPS | HOMOGENEOUS:
        return Edge(value, None, depthwise=readers)
    source = chain.input.producer()
    alone = len(chain.input.uses()) == 1 and not chain.input.is_graph_output()
    if source is None or not alone or only not in HOMOGENEOUS or not takes_scale(source):
        return None
    return Edge(value, source, depthwise=readers)


def _only_op(chain: PointwiseChain) -> str | None:
    """The op of a chain of one node, None for a longer one."""
    return None if len(chain.nodes) != 1 else next(iter(chain.nodes)).op_type


def takes_scale(node: ir.Node) -> bool:
    """A float32 Conv, ConvTranspose or Gemm with constant weights and one bias a channel, or none."""
    if node.op_type not in FOLDING_OPS or node.domain or constant_array(input_of(node, 1)) is None:
        return False
    if node.outputs[0].dtype not in (None, ir.DataType.FLOAT):
        return False
    bias = input_of(node, 2)
    return bias is None or (constant_array(bias) is not None and has_channel_bias(node))


def _is_depthwise(node: ir.Node, value: ir.Value) -> bool:
    """One filter per input channel, on `value` as its activation."""
    shape, weight = static_shape(value), static_shape(input_of(node, 1))
    if node.op_type != "Conv" or node.domain or node.inputs[0] is not value or weight is None:
        return False
    channels = shape[1] if shape else (value.shape[1] if value.shape is not None else None)
    group = node.attributes.get("group")
    return (
        isinstance(channels, int)
        and group is not None
        and group.as_int() == channels > 1
        and constant_array(input_of(node, 1)) is not None
    )

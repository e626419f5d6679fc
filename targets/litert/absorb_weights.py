"""Integer weights beside float data: their DequantizeLinear is taken into the op that reads them.

Gemm and MatMul become FullyConnected, a table of vectors an EmbeddingLookup (names of this room, with
rules in rules/weight_only.py); what has no such form keeps its DequantizeLinear and is folded to float.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.passes._held_weight import held_weight
from edgekit.passes._rewire import Names, constant_array, graph_of, input_of
from edgekit.passes.remove_unused import remove_unused
from edgekit.targets.litert.graph import Blocks, Quant
from edgekit.targets.litert.layout_rules import is_whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgekit.passes._held_weight import HeldWeight

    Quants = dict[ir.Value, Quant]


def absorb_weights(model: ir.Model) -> Quants:
    """Rewrite the model in place; the scales of every integer weight that a node now reads itself."""
    names = Names(model)
    quants: Quants = {}
    for node in tuple(model.graph):
        absorb = _ABSORB.get(node.op_type)
        if absorb is not None and not node.domain:
            absorb(node, names, quants)
    remove_unused(model)
    return quants


def _quant(held: HeldWeight, *, turned: bool) -> Quant:
    """Of the codes [N, K]; `turned`: they lie [K, N] in the graph."""
    if not held.block:
        return Quant(tuple(float(item) for item in held.scales.reshape(-1)), 0, 0)
    scales = held.scales.T if turned else held.scales
    return Quant((), 0, 0, Blocks(np.ascontiguousarray(scales, np.float16), held.block))


def _rows(held: HeldWeight, node: ir.Node, names: Names, quants: Quants, *, turned: bool) -> ir.Value | None:
    """The codes as [N, K] with a scale a row, or blocks of it; None where the scales lie otherwise."""
    rows, columns = (1, 0) if turned else (0, 1)
    if len(held.shape) != 2 or not held.scales_by(channel=rows, summed=columns):
        return None
    codes: NDArray[np.generic] = held.codes.T if turned else held.codes
    value = names.add_initializer(graph_of(node), f"{held.source.name}/rows", codes)
    quants[value] = _quant(held, turned=turned)
    return value


def _absorb_conv(node: ir.Node, _: Names, quants: Quants) -> None:
    """A scale for each output channel: what the kernels of one and two spatial dims take."""
    held = held_weight(input_of(node, 1))
    if held is None or held.block or len(held.shape) not in (3, 4) or is_whole(node):
        return
    channel = 1 if node.op_type == "ConvTranspose" else 0
    if not held.scales_by(channel=channel, summed=1 - channel):
        return
    node.replace_input_with(1, held.source)
    quants[held.source] = Quant(tuple(float(item) for item in held.scales.reshape(-1)), 0, channel)


def _absorb_matmul(node: ir.Node, names: Names, quants: Quants) -> None:
    held, data = held_weight(input_of(node, 1)), node.inputs[0]
    if held is None or data is None or data.shape is None or len(data.shape) < 2:
        return
    rows = _rows(held, node, names, quants, turned=True)
    if rows is not None:
        _replace(node, "FullyConnected", [data, rows])


def _absorb_gemm(node: ir.Node, names: Names, quants: Quants) -> None:
    """Y = A B' + C, with C a number for each column."""
    held, bias = held_weight(input_of(node, 1)), input_of(node, 2)
    factors = [node.attributes[name].as_float() for name in ("alpha", "beta") if name in node.attributes]
    turned = not (node.attributes["transB"].as_int() if "transB" in node.attributes else 0)
    moved = node.attributes["transA"].as_int() if "transA" in node.attributes else 0
    if held is None or moved or any(factor != 1 for factor in factors):
        return
    count = held.shape[1 if turned else 0]
    values = constant_array(bias)
    if bias is not None and (
        values is None or not (values.size == 1 or values.shape[-1] == values.size == count)
    ):
        return
    rows = _rows(held, node, names, quants, turned=turned)
    if rows is None:
        return
    inputs: list[ir.Value | None] = [node.inputs[0], rows]
    if values is not None:
        spread = np.broadcast_to(values.reshape(-1), (count,))
        inputs.append(names.add_initializer(graph_of(node), f"{node.name}/bias", spread))
    _replace(node, "FullyConnected", inputs)


def _absorb_gather(node: ir.Node, names: Names, quants: Quants) -> None:
    held = held_weight(input_of(node, 0))
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    if held is None or axis % 2:
        return
    rows = _rows(held, node, names, quants, turned=False)
    if rows is not None:
        _replace(node, "EmbeddingLookup", [node.inputs[1], rows])


def _replace(node: ir.Node, op: str, inputs: list[ir.Value | None]) -> None:
    """The node as another op of this room; its result keeps its name."""
    new = ir.node(op, inputs=inputs, name=node.name)
    old, result = node.outputs[0], new.outputs[0]
    result.name, result.shape, result.type = old.name, old.shape, old.type
    graph = graph_of(node)
    graph.insert_before(node, new)
    old.replace_all_uses_with(result, replace_graph_outputs=True)
    graph.remove(node, safe=True)


_ABSORB: dict[str, Callable[[ir.Node, Names, Quants], None]] = {
    "Conv": _absorb_conv,
    "ConvTranspose": _absorb_conv,
    "Gather": _absorb_gather,
    "Gemm": _absorb_gemm,
    "MatMul": _absorb_matmul,
}

"""Pointwise chains between integer tensors -> uint16 node by node, instead of the HTP's float16 inside.

float16 keeps 11 bits: a hard swish in it is 70 dB from the Q/DQ graph of 16 bits, and 89 dB as integers
(onnxruntime-qnn 2.7 on x86). Ranges inside follow from that of the codes at the chain's start: no sample is
needed. Between uint8 tensors too: their codes become uint16 codes of the same numbers at the chain's start,
and the context of PP-OCR rec takes 3.8 MB where float16 chains made it 13.3.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit._qdq.pairs import add_pair, grid_of
from edgekit.passes._rewire import Names, constant_array, graph_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import onnx_ir as ir
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Span = tuple[Array, Array]  # least and largest number, each of a shape that broadcasts to the tensor's

_LARGEST = np.iinfo(np.uint16).max
_CODES = (np.uint8, np.uint16)
_FINER = 257  # 255 steps of uint8 are 65535 of uint16


def quantize_chains(model: ir.Model) -> int:
    """Change `model` itself; returns how many nodes got pairs to compute on uint16."""
    spans, nodes = _follow_spans(model.graph)
    chosen = set(nodes)
    while lost := {node for node in chosen if not _ends_in_integers(node, chosen)}:
        chosen -= lost
    chosen -= {node for node in chosen if _is_narrow(node)}
    names, changed = Names(model), 0
    widened: dict[ir.Value, ir.Value] = {}
    for node in (node for node in nodes if node in chosen):
        places = range(len(node.inputs))
        made = [_widen_input(node, index, widened, names) for index in places]
        made += [_restore_constant(node, index, spans, names) for index in places]
        changed += any([*made, _restore_output(node, spans, names)])
    return changed


def _follow_spans(graph: ir.Graph) -> tuple[dict[ir.Value, Span], list[ir.Node]]:
    """What each restored tensor, constant and node between them can be, and those nodes in order."""
    spans: dict[ir.Value, Span] = {}
    nodes = []
    for node in graph:
        grid = grid_of(node) if node.op_type == "DequantizeLinear" else None
        if grid is not None and grid.dtype in _CODES:
            spans[node.outputs[0]] = np.asarray(grid.low), np.asarray(grid.high)
        elif node.op_type in _BOUNDS and not node.domain:
            found = [_span_of(value, spans) for value in node.inputs]
            operands = [span for span in found if span is not None]
            if len(operands) == len(found) and any(value in spans for value in node.inputs):
                spans[node.outputs[0]] = _BOUNDS[node.op_type](node, *operands)
                nodes.append(node)
    return spans, nodes


def _span_of(value: ir.Value | None, spans: Mapping[ir.Value, Span]) -> Span | None:
    if value is None:
        return None
    array = constant_array(value)
    return spans.get(value) if array is None else (array.astype(np.float64), array.astype(np.float64))


def _ends_in_integers(node: ir.Node, chosen: Collection[ir.Node]) -> bool:
    """Whether it reads constants, restored tensors and chosen nodes only, and Qs and chosen nodes read it.

    A pool may be read in float: its results are few, and what it averages is integers.
    """
    computed = [value for value in node.inputs if value is not None and constant_array(value) is None]
    makers = [value.producer() for value in computed]
    starts = all(maker in chosen or (maker and maker.op_type == "DequantizeLinear") for maker in makers)
    readers = [reader for reader, _ in node.outputs[0].uses()]
    ends = node.op_type in _POOLS or all(one in chosen or _codes_of(one) in _CODES for one in readers)
    return starts and ends and not node.outputs[0].is_graph_output()


def _codes_of(node: ir.Node | None, op_type: str = "QuantizeLinear") -> np.dtype[Any] | None:
    """The dtype of a Q's (or DQ's) codes; None for another node."""
    grid = grid_of(node) if node is not None and node.op_type == op_type else None
    return None if grid is None else grid.dtype


def _is_narrow(node: ir.Node) -> bool:
    """Whether the HTP computes it on uint8 as it stands: restored inputs, and Qs that read it."""
    if node.op_type not in _ON_UINT8:
        return False
    makers = [value.producer() if value is not None else None for value in node.inputs]
    starts = all(_codes_of(maker, "DequantizeLinear") == np.uint8 for maker in makers)
    return starts and all(_codes_of(reader) == np.uint8 for reader, _ in node.outputs[0].uses())


def _widen_input(node: ir.Node, index: int, widened: dict[ir.Value, ir.Value], names: Names) -> bool:
    """A restored uint8 input on the uint16 grid of 257 times finer steps, which holds the same numbers."""
    value = node.inputs[index]
    maker = None if value is None else value.producer()
    grid = grid_of(maker) if maker is not None and maker.op_type == "DequantizeLinear" else None
    if value is None or grid is None or grid.dtype != np.uint8:
        return False
    if value not in widened:
        zero = np.array(round(-grid.low / grid.step) * _FINER, np.uint16)
        widened[value] = add_pair(graph_of(node), value, grid.step / _FINER, zero, names)
    node.replace_input_with(index, widened[value])
    return True


def _restore_constant(node: ir.Node, index: int, spans: Mapping[ir.Value, Span], names: Names) -> bool:
    value = node.inputs[index]
    span = _span_of(value, spans)
    if value is None or span is None or constant_array(value) is None:
        return False
    node.replace_input_with(index, _pair_on(node, value, span, names))
    return True


def _restore_output(node: ir.Node, spans: Mapping[ir.Value, Span], names: Names) -> bool:
    """Whether it got a pair: always where the HTP knows one grid only, else unless only uint16 Qs read it."""
    output, uses = node.outputs[0], list(node.outputs[0].uses())
    readers = [use for use in uses if _codes_of(use[0]) != np.uint16]
    quantizers = [use for use in uses if use not in readers and node.op_type in _OF_ONE_GRID]
    if not readers and not quantizers:
        return False
    restored = _pair_on(node, output, spans[output], names)
    for reader, index in readers:
        reader.replace_input_with(index, restored)
    for reader, index in quantizers:
        reader.replace_input_with(index, _times_one(reader, restored, names))
    return True


def _times_one(node: ir.Node, value: ir.Value, names: Names) -> ir.Value:
    """value * 1 in front of `node`: a pair alone would be folded into the op before it."""
    one = names.add_initializer(graph_of(node), f"{value.name}/one", np.array(1, np.float32))
    span = np.asarray(0.0), np.asarray(1.0)
    made = names.insert_before(node, "Mul", [value, _pair_on(node, one, span, names)])
    made.shape, made.type = value.shape, value.type
    return made


def _pair_on(node: ir.Node, value: ir.Value, span: Span, names: Names) -> ir.Value:
    """A uint16 pair whose grid holds the span and 0."""
    low, high = min(float(span[0].min()), 0.0), max(float(span[1].max()), 0.0)
    step = (high - low) / _LARGEST or 1.0
    return add_pair(graph_of(node), value, step, np.array(round(-low / step), np.uint16), names)


def _add(_: ir.Node, one: Span, other: Span) -> Span:
    return one[0] + other[0], one[1] + other[1]


def _subtract(_: ir.Node, one: Span, other: Span) -> Span:
    return one[0] - other[1], one[1] - other[0]


def _multiply(_: ir.Node, one: Span, other: Span) -> Span:
    corners = np.broadcast_arrays(*(left * right for left, right in product(one, other)))
    return np.minimum.reduce(corners), np.maximum.reduce(corners)


def _hard_swish(_: ir.Node, x: Span) -> Span:
    """Falls from -3 to -1.5, where it is -0.375, and rises from there."""
    ends = [value * np.clip(value / 6 + 0.5, 0, 1) for value in x]
    lowest = np.where((x[0] <= -1.5) & (x[1] >= -1.5), -0.375, np.minimum(*ends))
    return lowest, np.maximum(*ends)


def _rectify(_: ir.Node, x: Span) -> Span:
    return np.maximum(x[0], 0), np.maximum(x[1], 0)


def _average(_: ir.Node, x: Span) -> Span:
    return x[0].min(), x[1].max()


def _within(low: float, high: float) -> Callable[..., Span]:
    return lambda *_: (np.asarray(low), np.asarray(high))


# Ops that stay in uint8 where all around them is. A HardSwish there lay 1.15 from fp32 in PP-OCR cls' logits,
# its formula in float16 .71.
_ON_UINT8 = frozenset({"Add", "GlobalAveragePool", "Mul", "Relu", "Sub"})
# In front of SqueezeNet's Softmax a mean in float16 is at 64.5 dB, on uint16 at 66.2 (Q/DQ graph 66.8).
_POOLS = frozenset({"GlobalAveragePool"})
# Ops whose uint16 form on the HTP is on [0, 1] or [-1, 1] whatever grid it is given: as an output, a Sigmoid
# that was calibrated to 0.65 has 9 dB.
_OF_ONE_GRID = frozenset({"HardSigmoid", "Sigmoid", "Tanh"})
# Ops that the HTP computes on uint16 to within 4 steps (tried over +-19), and the range of what they make.
_BOUNDS: dict[str, Callable[..., Span]] = {
    "Add": _add,
    "GlobalAveragePool": _average,
    "HardSigmoid": _within(0, 1),
    "HardSwish": _hard_swish,
    "Mul": _multiply,
    "Relu": _rectify,
    "Sigmoid": _within(0, 1),
    "Sub": _subtract,
    "Tanh": _within(-1, 1),
}

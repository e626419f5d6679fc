"""Weight-only quantization: constant weights become int8 or int4 behind a DequantizeLinear.

It is done once for all runtimes: activations stay float, and samples only help to choose the integers. Each
target says in its Plan which forms it holds; equal forms have equal codes and scales in every runtime.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from edgekit._qdq.round_weights import Grouping, smallest_elements, weight_table
from edgekit._qdq.steering import Decision, Steering
from edgekit._qdq.weight_rounder import METHOD_WORDS, WeightRounder
from edgekit._schemes import WEIGHT_BITS
from edgekit.errors import ModelError
from edgekit.passes._rewire import Names, graph_of, input_of
from edgekit.passes.reach_opset import reach_opset
from edgekit.passes.remove_unused import remove_unused

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from edgekit._schemes import WeightBits, WeightForm
    from edgekit._values import Component, Precision

INT4_OPSET = 21  # int4 and blocks came to DequantizeLinear with it
INT4_IR_VERSION = 10


@dataclass(frozen=True)
class WeightsResult:
    """The component with integer weights, why each weight is held so, and the words for the manifest."""

    component: Component
    decisions: tuple[Decision, ...]
    method: str


def quantize_weights(
    component: Component,
    forms: Sequence[WeightForm],
    *,
    precision: Precision,
    steering: Steering | None = None,
    rounder: WeightRounder | None = None,
) -> WeightsResult:
    """A clone whose Conv, ConvTranspose, Gemm, MatMul and Gather weights are integers where `forms` has one.

    Of a w4 model, a weight takes int4 in the rounder's blocks where the target holds those and the summed
    axis divides by it, else int8 with a scale a channel (int4 with one destroys small networks; block 0
    asks for it). The rounder (round to nearest unless given) remembers what it made, for the next target.
    ModelError names a node whose weight is not finite.
    """
    model = component.model.clone()
    bits = WEIGHT_BITS[precision]
    if bits == 4:
        reach_opset(model, INT4_OPSET)
        model.ir_version = max(model.ir_version, INT4_IR_VERSION)
    rounder = rounder or WeightRounder()
    writer = _Writer(Names(model), rounder)
    steering = steering or Steering()
    decisions = [
        _decide(node, [form for form in forms if form.bits >= bits], steering, writer)
        for node in tuple(model.graph)
        if node.op_type in weight_table()["ops"] and not node.domain
    ]
    remove_unused(model)
    told = tuple(decision for decision in decisions if decision is not None)
    method = f"{precision}: {_words(told)}{METHOD_WORDS[rounder.method]}"
    return WeightsResult(replace(component, model=model), told, method)


def _words(decisions: Sequence[Decision]) -> str:
    """How many weights are held in which form."""
    counts = Counter(decision.precision for decision in decisions)
    return "".join(f"{count} {precision}; " for precision, count in sorted(counts.items()))


def _decide(
    node: ir.Node, forms: Sequence[WeightForm], steering: Steering, writer: _Writer
) -> Decision | None:
    """Quantize one node's weight; None where it has none that could be."""
    row = weight_table()["ops"][node.op_type]
    weight = input_of(node, row["weight"])
    if weight is None or not _is_candidate(weight, row):
        return None
    name = str(node.name)
    if not steering.allows(node):
        return Decision(name, node.op_type, "float", "pinned by the user")
    chosen = _choose(node, weight, [form for form in forms if form.op == node.op_type], writer.rounder.block)
    if chosen is None:
        return Decision(name, node.op_type, "float", "the target holds no integer weights of this op")
    bits, grouping = chosen
    try:
        errors = writer.write(node, row["weight"], bits, grouping)
    except ModelError as error:
        raise ModelError(f"{node.op_type} '{name}': {error.problem}", fix=error.fix) from error
    shared = f"blocks of {grouping.block}" if grouping.block else "a scale a channel"
    return Decision(name, node.op_type, f"int{bits} weights", f"{shared}, {errors}")


def _is_candidate(weight: ir.Value, row: dict[str, Any]) -> bool:
    tensor = weight.const_value
    if tensor is None or not weight.is_initializer() or tensor.dtype != ir.DataType.FLOAT:
        return False
    return tensor.size >= smallest_elements() and row.get("rank") in (None, len(tensor.shape))


def _choose(
    node: ir.Node, weight: ir.Value, forms: Sequence[WeightForm], block: int
) -> tuple[WeightBits, Grouping] | None:
    """int4 in blocks, or what of the target's forms with a scale a channel is nearest to what was asked."""
    row = weight_table()["ops"][node.op_type]
    channel, summed = row["channel"], row["summed"]
    transposed = node.attributes.get("transB")
    if transposed is not None and transposed.as_int():
        channel, summed = summed, channel
    axis = node.attributes.get("axis")
    if not forms or (node.op_type == "Gather" and axis is not None and axis.as_int() not in (0, -2)):
        return None
    assert weight.shape is not None
    size = weight.shape.numpy()[summed]
    held = {length for form in forms if form.bits == 4 for length in form.blocks}
    if block and block in held and size % block == 0:
        return 4, Grouping(channel, summed, block)
    wanted: WeightBits = 4 if block == 0 else 8
    bits = wanted if any(form.bits == wanted for form in forms) else forms[0].bits
    return bits, Grouping(channel, summed)


@dataclass(frozen=True)
class _Writer:
    """Puts DequantizeLinear nodes in; nodes that hold one weight alike share one."""

    names: Names
    rounder: WeightRounder
    made: dict[tuple[ir.Value, Grouping], tuple[ir.Value, str]] = field(default_factory=dict)

    def write(self, node: ir.Node, index: int, bits: WeightBits, grouping: Grouping) -> str:
        """Let the node read integers; how far they are from its weight, in words."""
        weight = input_of(node, index)
        assert weight is not None
        assert weight.const_value is not None
        key = (weight, grouping)
        if key not in self.made:
            rounded = self.rounder.round(weight, bits, grouping)
            tensor = rounded.tensor(self.names.free(f"{weight.name}/codes"))
            attributes = {"axis": grouping.summed if grouping.block else grouping.channel}
            attributes |= {"block_size": grouping.block} if grouping.block else {}
            restored = self._restore(graph_of(node), weight, (tensor, rounded.scales), attributes)
            self.made[key] = restored, rounded.words
        restored, errors = self.made[key]
        node.replace_input_with(index, restored)
        return errors

    def _restore(
        self,
        graph: ir.Graph,
        weight: ir.Value,
        parts: tuple[ir.TensorProtocol, np.ndarray],
        attributes: dict[str, int],
    ) -> ir.Value:
        """(codes, scales) -> DequantizeLinear at the head of the graph; the float value it gives."""
        tensor, scales = parts
        kind = ir.TensorType(tensor.dtype)
        codes = ir.Value(name=tensor.name, shape=weight.shape, type=kind, const_value=tensor)
        graph.register_initializer(codes)
        scale = self.names.add_initializer(graph, f"{weight.name}/scale", scales)
        name = self.names.free(f"{weight.name}/restored")
        made = ir.node("DequantizeLinear", [codes, scale], attributes, name=name)
        value = made.outputs[0]
        value.name, value.type, value.shape = name, ir.TensorType(ir.DataType.FLOAT), weight.shape
        graph.insert_before(graph[0], made)
        return value

"""The (B, C, 1, S) form of values whose last axis is the channel: made, left, and carried along."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.passes._rewire import Names, constant_array, graph_of, take_over

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RANKS = (2, 3, 4)
# perm of a plain value into its form, and back, by the plain value's rank (rank 3 after one Unsqueeze).
_IN = {3: (0, 3, 2, 1), 4: (0, 3, 1, 2)}
_OUT = {3: (0, 3, 2, 1), 4: (0, 2, 3, 1)}
# Axes that a plain value lacks, on its own side of the perm.
_LACKS = {2: (2, 3), 3: (2,)}
_QDQ = frozenset({"QuantizeLinear", "DequantizeLinear"})
# Entry by entry: what they compute does not depend on where an entry stands.
_ELEMENTWISE = _QDQ | {
    "Abs",
    "Add",
    "Cast",
    "Clip",
    "Div",
    "Elu",
    "Erf",
    "Exp",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Log",
    "Max",
    "Min",
    "Mul",
    "Neg",
    "Pow",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Sqrt",
    "Sub",
    "Tanh",
}


class ChannelsFirst:
    """Which plain values [..., C] have a form with channels on axis 1, and the nodes between the two.

    Rank 2: [N, C] is [N, C, 1, 1]. Rank 3: [B, S, C] is [B, C, 1, S]. Rank 4: [B, H, W, C] is [B, C, H, W].
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self._form: dict[ir.Value, ir.Value] = {}

    def enter(self, value: ir.Value, before: ir.Node) -> ir.Value:
        """The form of `value`, made in front of `before` where there is none yet.

        A Q/DQ pair (one scale for the tensor) is repeated behind the change of layout, so that a quantized
        node still reads its DequantizeLinear.
        """
        if value not in self._form:
            pair = value.producer()
            source = pair.inputs[0] if pair is not None and pair.op_type in _QDQ else None
            if pair is None or source is None or not is_per_tensor(pair) or rank_of(source) != rank_of(value):
                self._form[value] = self._change_in(value, before)
            else:
                inputs = [self.enter(source, before), *pair.inputs[1:]]
                self._form[value] = self.copy_node(pair, inputs, before)
        return self._form[value]

    def leave(self, form: ir.Value, node: ir.Node) -> None:
        """Put `form`, changed back, in the place of the node's only output; the node goes."""
        old = node.outputs[0]
        rank = rank_of(old)
        plain = form
        if rank in _OUT:
            plain = self._names.insert_before(node, "Transpose", [plain], perm=_OUT[rank])
        if rank in _LACKS:
            plain = self._names.insert_before(node, "Squeeze", [plain, self._axes(node, rank)])
        take_over(plain, old)
        self._form[plain] = form

    def carry(self, node: ir.Node, reads_forms: Callable[[ir.Node], bool]) -> bool:
        """Let an elementwise node, or a Softmax over the channels, work on forms; False where it can't.

        `reads_forms` says which other nodes take a form: only values read by such nodes alone are carried.
        """
        inputs = self._inputs(node)
        if inputs is None or not self._is_read_as_form(node, reads_forms):
            return False
        form = self.copy_node(node, inputs, node)
        if node.op_type == "Softmax":
            maker = form.producer()
            if maker is not None:
                maker.attributes["axis"] = ir.AttrInt64("axis", 1)
        self.leave(form, node)
        return True

    def copy_node(self, node: ir.Node, inputs: Sequence[ir.Value | None], before: ir.Node) -> ir.Value:
        """The output of a copy of `node` on other inputs, in front of `before`."""
        name = self._names.free(f"{node.outputs[0].name}/channels_first")
        new = ir.node(node.op_type, inputs, dict(node.attributes), domain=node.domain, name=name)
        new.outputs[0].name, new.outputs[0].type = name, node.outputs[0].type
        graph_of(before).insert_before(before, new)
        return new.outputs[0]

    def _is_read_as_form(self, node: ir.Node, reads_forms: Callable[[ir.Node], bool]) -> bool:
        for value in node.inputs:
            if value is not None and value in self._form and not value.is_graph_output():
                readers = {reader for reader, _ in value.uses()}
                return all(
                    reader is node or reader.op_type in _ELEMENTWISE or reads_forms(reader)
                    for reader in readers
                )
        return False

    def _inputs(self, node: ir.Node) -> list[ir.Value | None] | None:
        """The node's inputs as forms; None where one of them has none, or the node is of another kind."""
        if not _keeps_places(node):
            return None
        shape = _dims(node.outputs[0])
        found: list[ir.Value | None] = []
        for value in node.inputs:
            form = None if value is None else self._as_form(value, shape, node)
            if value is not None and form is None:
                return None
            found.append(form)
        return found

    def _as_form(self, value: ir.Value, shape: list[object] | None, node: ir.Node) -> ir.Value | None:
        if value in self._form:
            return self._form[value] if shape is not None and _dims(value) == shape else None
        array = constant_array(value)
        if array is None:
            return None
        if array.size == 1:
            return value
        if shape is None or array.ndim > len(shape) or array.size != array.shape[-1]:
            return None
        reshaped = np.ascontiguousarray(array).reshape(1, -1, 1, 1)
        return self._names.add_initializer(graph_of(node), f"{value.name}/channels_first", reshaped)

    def _change_in(self, value: ir.Value, before: ir.Node) -> ir.Value:
        rank = rank_of(value)
        form = value
        if rank in _LACKS:
            form = self._names.insert_before(before, "Unsqueeze", [form, self._axes(before, rank)])
        if rank in _IN:
            form = self._names.insert_before(before, "Transpose", [form], perm=_IN[rank])
        return form

    def _axes(self, node: ir.Node, rank: int) -> ir.Value:
        axes = np.array(_LACKS[rank], np.int64)
        return self._names.add_initializer(graph_of(node), f"{node.outputs[0].name}/axes", axes)


def is_per_tensor(node: ir.Node) -> bool:
    """Whether a QuantizeLinear or DequantizeLinear has one constant scale for the whole tensor."""
    scale = constant_array(node.inputs[1])
    return scale is not None and scale.size == 1


def rank_of(value: ir.Value) -> int:
    """The value's rank, 0 where it is unknown."""
    return 0 if value.shape is None else len(value.shape)


def _keeps_places(node: ir.Node) -> bool:
    if node.domain or len(node.outputs) != 1 or rank_of(node.outputs[0]) not in RANKS:
        return False
    if node.op_type == "Softmax":
        axis = node.attributes.get("axis")
        return axis is None or axis.as_int() in (-1, rank_of(node.outputs[0]) - 1)
    if node.op_type in _QDQ:
        return is_per_tensor(node)
    return node.op_type in _ELEMENTWISE


def _dims(value: ir.Value) -> list[object] | None:
    """The dims, a symbolic one by its name; None where any is unknown."""
    if value.shape is None:
        return None
    dims: list[object] = [dim if isinstance(dim, int) else dim.value for dim in value.shape]
    return None if None in dims else dims

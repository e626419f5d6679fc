"""Gives what a Concat and others read a scale of its own, where the Concat's is far too wide for it.

A Concat is one buffer of one scale. A quiet tensor beside a loud one keeps few levels there, and without a
second rounding its other readers, an output among them, would get no more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit.passes._rewire import Names

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx_ir as ir

    from edgekit.calibration.record import CalibrationRecord

# Two bits of eight: less is not worth another pass over the tensor.
_WIDER = 4.0


def split_groups(model: ir.Model, record: CalibrationRecord) -> tuple[tuple[ir.Node, ...], CalibrationRecord]:
    """Put an Identity in front of each such Concat input, whose result joins the Concat's group.

    Returns these nodes, and the record with ranges for their results.
    """
    names, ranges = Names(model), dict(record.ranges)
    made: list[ir.Node] = []
    for concat in [node for node in model.graph if node.op_type == "Concat" and not node.domain]:
        for index, value in enumerate(concat.inputs):
            if value is None or not _is_crowded(value, concat, record):
                continue
            joined = names.insert_before(concat, "Identity", [value])
            joined.shape, joined.type = value.shape, value.type
            concat.replace_input_with(index, joined)
            ranges[str(joined.name)] = record.ranges[str(value.name)]
            node = joined.producer()
            assert node is not None
            made.append(node)
    return tuple(made), replace(record, ranges=ranges)


def close_groups(model: ir.Model, made: Iterable[ir.Node]) -> None:
    """Take those nodes out again: what stays is one pair behind the other."""
    for node in made:
        source = node.inputs[0]
        assert source is not None
        node.outputs[0].replace_all_uses_with(source)
        model.graph.remove(node, safe=True)


def _is_crowded(value: ir.Value, concat: ir.Node, record: CalibrationRecord) -> bool:
    others = value.is_graph_output() or any(use.node is not concat for use in value.uses())
    own, whole = (record.ranges.get(str(item.name)) for item in (value, concat.outputs[0]))
    if not others or own is None or whole is None:
        return False
    return whole.whole().threshold >= _WIDER * own.whole().threshold > 0

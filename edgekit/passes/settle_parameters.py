"""Axes, sizes and repeats computed at run time -> constants, where the known shapes leave one meaning only.

A model's declared shapes are what it promises of every run. A Reshape to a computed target is settled by the
shape of its result; a ReduceSum over a computed axis by the axis that is gone. Where several axes fit, all of
them are computed and the run-time axis chooses.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from edgekit.passes._rewire import (
    Names,
    all_nodes,
    constant_array,
    graph_of,
    input_of,
    static_shape,
    take_over,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    Shape = tuple[int, ...]
    # Input index -> its one value; None: the shapes leave more than one.
    Rule = Callable[[ir.Node, Shape, Shape], Mapping[int, NDArray[np.int64]] | None]

_REDUCTIONS = tuple(
    f"Reduce{kind}"
    for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
)
_MOST_BRANCHES = 4


def settle_parameters(model: ir.Model) -> int:
    """Settle every such node whose shapes are all known (infer_shapes); returns how many."""
    names = Names(model)
    return sum(
        _settle(node, names) for node in all_nodes(model) if node.op_type in _RULES and not node.domain
    )


def _settle(node: ir.Node, names: Names) -> bool:
    before, after = static_shape(input_of(node, 0)), static_shape(node.outputs[0])
    computed = [index for index in range(1, len(node.inputs)) if _is_computed(node.inputs[index])]
    if not computed or before is None or after is None or 0 in (*before, *after):
        return False
    found = _RULES[node.op_type](node, before, after)
    if found is None:
        return node.op_type in _REDUCTIONS and _choose_axis(node, names, _fitting_axes(node, before, after))
    for index, array in found.items():
        if index in computed:
            value = names.add_initializer(graph_of(node), f"{node.outputs[0].name}/settled", array)
            node.replace_input_with(index, value)
    return bool(set(found).intersection(computed))


def _is_computed(value: ir.Value | None) -> bool:
    return value is not None and constant_array(value) is None


def _as_result(_: ir.Node, __: Shape, after: Shape) -> Mapping[int, NDArray[np.int64]]:
    return {1: _ints(after)}


def _as_reshape(node: ir.Node, _: Shape, after: Shape) -> Mapping[int, NDArray[np.int64]]:
    """Squeeze and Unsqueeze keep the order of the values, whatever their axes."""
    node.op_type = "Reshape"
    node.attributes.clear()
    return {1: _ints(after)}


def _repeats(_: ir.Node, before: Shape, after: Shape) -> Mapping[int, NDArray[np.int64]]:
    return {1: _ints([new // old for old, new in zip(before, after, strict=True)])}


def _count(default: int) -> Callable[[ir.Node, Shape, Shape], Mapping[int, NDArray[np.int64]]]:
    """The size of the result along the attribute `axis`: TopK's k, OneHot's depth."""

    def rule(node: ir.Node, _: Shape, after: Shape) -> Mapping[int, NDArray[np.int64]]:
        return {1: _ints([after[_integer(node, "axis", default)]])}

    return rule


def _sizes(node: ir.Node, before: Shape, after: Shape) -> Mapping[int, NDArray[np.int64]] | None:
    """Resize by `sizes`; a policy that keeps the aspect ratio takes more from them than the result shows."""
    policy = node.attributes.get("keep_aspect_ratio_policy")
    if input_of(node, 3) is None or (policy is not None and policy.as_string() != "stretch"):
        return None
    return {3: _ints([after[axis] for axis in _axes(node, len(before))])}


def _cropped(node: ir.Node, before: Shape, after: Shape) -> Mapping[int, NDArray[np.int64]]:
    return {1: _ints([after[axis] for axis in _axes(node, len(before))])}


def _grid(_: ir.Node, __: Shape, after: Shape) -> Mapping[int, NDArray[np.int64]]:
    """AffineGrid's size is N, C, spatial...; C leaves no trace in the result."""
    return {1: _ints([after[0], 1, *after[1:-1]])}


def _one_axis_set(node: ir.Node, before: Shape, after: Shape) -> Mapping[int, NDArray[np.int64]] | None:
    found = _fitting_axes(node, before, after)
    return {1: _ints(found[0])} if len(found) == 1 else None


def _fitting_axes(node: ir.Node, before: Shape, after: Shape) -> list[Shape]:
    """Every set of axes that leads from one shape to the other."""
    count = static_shape(input_of(node, 1))
    if count is None or len(count) != 1:
        return []
    kept = _integer(node, "keepdims", 1)
    return [
        axes
        for axes in combinations(range(len(before)), count[0])
        if after == tuple(1 if i in axes else n for i, n in enumerate(before) if kept or i not in axes)
    ]


def _choose_axis(node: ir.Node, names: Names, fitting: Sequence[Shape]) -> bool:
    """Where(axis == a, reduce over a, Where(axis == b, ...)) of one run-time axis."""
    axes, rank = input_of(node, 1), len(static_shape(input_of(node, 0)) or ())
    if axes is None or not 2 <= len(fitting) <= _MOST_BRANCHES or len(fitting[0]) != 1:
        return False
    graph, name = graph_of(node), node.outputs[0].name
    attributes = {key: value for key, value in node.attributes.items() if key != "noop_with_empty_axes"}
    made: ir.Value | None = None
    for (axis,) in fitting:
        constant = names.add_initializer(graph, f"{name}/axis", _ints([axis]))
        branch = names.insert_before(node, node.op_type, [node.inputs[0], constant])
        producer = branch.producer()
        assert producer is not None
        producer.attributes.update(attributes)
        if made is None:
            made = branch
            continue
        below = names.add_initializer(graph, f"{name}/below", _ints([axis - rank]))
        hit = names.insert_before(
            node,
            "Or",
            [names.insert_before(node, "Equal", [axes, item]) for item in (constant, below)],
        )
        made = names.insert_before(node, "Where", [hit, branch, made])
    assert made is not None
    take_over(made, node.outputs[0])
    return True


def _integer(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def _axes(node: ir.Node, rank: int) -> list[int]:
    attribute = node.attributes.get("axes")
    return list(range(rank)) if attribute is None else [axis % rank for axis in attribute.as_ints()]


def _ints(values: Sequence[int]) -> NDArray[np.int64]:
    return np.asarray(values, np.int64)


_RULES: dict[str, Rule] = {
    "AffineGrid": _grid,
    "CenterCropPad": _cropped,
    "Expand": _as_result,
    "OneHot": _count(-1),
    "Reshape": _as_result,
    "Resize": _sizes,
    "Squeeze": _as_reshape,
    "Tile": _repeats,
    "TopK": _count(-1),
    "Unsqueeze": _as_reshape,
    **dict.fromkeys(_REDUCTIONS, _one_axis_set),
}

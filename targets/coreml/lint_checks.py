"""How each kind of row in neural_engine.toml is held against a graph."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import onnx_ir as ir

from edgekit.passes._rewire import constant_array, input_of
from edgekit.passes.bound_masks import LOWEST_HALF, is_open_mask
from edgekit.passes.linear_to_conv import is_linear

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgekit._values import Component
    from edgekit.target import Job
    from edgekit.targets.coreml.lint_rules import Rule

# The last axis of a Neural Engine buffer begins at multiples of this (apple-transformers).
_GRANULE = 64
_WIDEST, _MOST_CHANNELS = 16384, 65536
# Floats are float16 in the programs this is about.
_BYTES = {ir.DataType.FLOAT: 2, ir.DataType.FLOAT16: 2, ir.DataType.INT8: 1, ir.DataType.UINT8: 1}


class Finding(NamedTuple):
    """One place that a row speaks of: node (or tensor) name, operator, and what was seen there."""

    node: str
    op: str
    seen: str


class Place(NamedTuple):
    """What a check looks at."""

    component: Component
    job: Job
    nodes: tuple[ir.Node, ...]


def check_precision(place: Place, rule: Rule) -> Iterator[Finding]:
    """A job that builds float32."""
    del rule
    if place.job.precision == "fp32":
        yield Finding("", "Graph", "float32")


def check_dynamic(place: Place, rule: Rule) -> Iterator[Finding]:
    """Inputs without a size for each axis."""
    del rule
    for value in place.component.model.graph.inputs:
        ranges = place.job.shapes.get(value.name or "", ())
        is_open = value.shape is None or not value.shape.is_static()
        if is_open or any(not dim.is_fixed for dim in ranges):
            shape = "no shape" if value.shape is None else _dims_text(value)
            yield Finding(value.name or "", "Tensor", shape)


def check_operator(place: Place, rule: Rule) -> Iterator[Finding]:
    """Operators by name; with `input`, only where that one is computed."""
    for node in _of(place, rule):
        if rule.input is None or constant_array(input_of(node, rule.input)) is None:
            yield Finding(node.name or "", node.op_type, "")


def check_attribute(place: Place, rule: Rule) -> Iterator[Finding]:
    """Attributes with an entry above `above` or not in `allowed`."""
    for node in _of(place, rule):
        values = _numbers(node, rule.attribute)
        bad = [value for value in values if (rule.above and value > rule.above) or _is_not_in(value, rule)]
        if bad:
            yield Finding(node.name or "", node.op_type, f"{rule.attribute} {list(values)}")


def check_rank(place: Place, rule: Rule) -> Iterator[Finding]:
    """Ranks of just one more than `above`, or any above 5."""
    for value in _activations(place):
        rank = len(value.shape or ())
        if rank == rule.above + 1 or rank > rule.above >= 5:
            yield Finding(value.name or "", "Tensor", f"rank {rank}")


def check_last_axis(place: Place, rule: Rule) -> Iterator[Finding]:
    """Tensors whose last axis fills less than a granule."""
    for value in _activations(place):
        shape = _static(value)
        if shape is None or len(shape) < 2:
            continue
        width = shape[-1] * _entry_bytes(value)
        padded = math.prod(shape[:-1]) * _GRANULE
        if 0 < width < _GRANULE and padded >= rule.least:
            seen = f"{list(shape)}, {_GRANULE / width:.3g} times the memory"
            yield Finding(value.name or "", "Tensor", seen)


def check_last_axis_moves(place: Place, rule: Rule) -> Iterator[Finding]:
    """Transposes that do not leave the last axis where it is."""
    for node in _of(place, rule):
        shape, perm = _static(node.outputs[0]), node.attributes.get("perm")
        order = None if perm is None else list(perm.as_ints())
        if shape is None or math.prod(shape) * _entry_bytes(node.outputs[0]) < rule.least:
            continue
        if order is None or order[-1] != len(order) - 1:
            yield Finding(node.name or "", node.op_type, f"perm {order or 'reversed'}, {list(shape)}")


def check_extent(place: Place, rule: Rule) -> Iterator[Finding]:
    """Tensors that are too long on some axis."""
    del rule
    for value in _activations(place):
        shape = _static(value)
        if shape is None or len(shape) < 3:
            continue
        if max(shape[-2:]) > _WIDEST or (len(shape) > 3 and shape[1] > _MOST_CHANNELS):
            yield Finding(value.name or "", "Tensor", str(list(shape)))


def check_dtype(place: Place, rule: Rule) -> Iterator[Finding]:
    """Tensors of other types than `allowed`."""
    for value in _activations(place):
        if value.dtype is not None and value.dtype.name not in rule.allowed:
            yield Finding(value.name or "", "Tensor", value.dtype.name)


def check_linear(place: Place, rule: Rule) -> Iterator[Finding]:
    """What linear_to_conv would make a convolution."""
    del rule
    for node in place.component.model.graph:
        if is_linear(node):
            yield Finding(node.name or "", node.op_type, "")


def check_mask(place: Place, rule: Rule) -> Iterator[Finding]:
    """Constants that bound_masks would bound."""
    del rule
    below = -math.inf if place.job.precision == "fp32" else LOWEST_HALF
    for graph in place.component.model.graphs():
        for value in graph.initializers.values():
            if is_open_mask(value, below):
                yield Finding(value.name or "", "Tensor", "")


def check_spatial(place: Place, rule: Rule) -> Iterator[Finding]:
    """Windows over more than `above` spatial axes."""
    for node in _of(place, rule):
        rank = len(node.outputs[0].shape or ())
        if rank - 2 > rule.above:
            yield Finding(node.name or "", node.op_type, f"rank {rank}")


def check_reduced_extent(place: Place, rule: Rule) -> Iterator[Finding]:
    """Searches along more than `above` entries."""
    for node in _of(place, rule):
        source, axis = input_of(node, 0), node.attributes.get("axis")
        shape = None if source is None else _static(source)
        if shape is not None and shape[0 if axis is None else axis.as_int()] > rule.above:
            yield Finding(node.name or "", node.op_type, str(list(shape)))


CHECKS: dict[str, Callable[[Place, Rule], Iterator[Finding]]] = {
    "attribute": check_attribute,
    "dtype": check_dtype,
    "dynamic": check_dynamic,
    "extent": check_extent,
    "last-axis": check_last_axis,
    "last-axis-moves": check_last_axis_moves,
    "linear": check_linear,
    "mask": check_mask,
    "operator": check_operator,
    "precision": check_precision,
    "rank": check_rank,
    "reduced-extent": check_reduced_extent,
    "spatial": check_spatial,
}


def _of(place: Place, rule: Rule) -> Iterator[ir.Node]:
    return (node for node in place.nodes if node.op_type in rule.ops and not node.domain)


def _activations(place: Place) -> Iterator[ir.Value]:
    """What nodes make out of something that is not constant: a folded weight is no activation."""
    for node in place.nodes:
        if any(value is not None and constant_array(value) is None for value in node.inputs):
            yield from (value for value in node.outputs if value.name)


def _static(value: ir.Value) -> tuple[int, ...] | None:
    if value.shape is None or not value.shape.is_static():
        return None
    return tuple(value.shape.numpy())


def _entry_bytes(value: ir.Value) -> int:
    return 4 if value.dtype is None else _BYTES.get(value.dtype, max(1, int(value.dtype.itemsize)))


def _numbers(node: ir.Node, name: str) -> tuple[int, ...]:
    attribute = node.attributes.get(name)
    if attribute is not None:
        return tuple(attribute.as_ints())
    weight = input_of(node, 1)
    if name != "kernel_shape" or weight is None or weight.shape is None:
        return ()
    return tuple(dim for dim in list(weight.shape)[2:] if isinstance(dim, int))


def _is_not_in(value: int, rule: Rule) -> bool:
    return bool(rule.allowed) and value not in rule.allowed


def _dims_text(value: ir.Value) -> str:
    dims = [] if value.shape is None else list(value.shape)
    return "[" + ", ".join(str(dim) if isinstance(dim, int) else str(dim.value or "?") for dim in dims) + "]"

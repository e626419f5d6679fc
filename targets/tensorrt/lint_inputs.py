"""Graph inputs and tensor types: dims without a range, dims tied by one name, INT64 and double."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Literal

import onnx_ir as ir

from edgekit.targets.tensorrt.op_table import OpTable, version_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgekit._values import DimRange
    from edgekit.target import Job

    Finding = tuple[str, str, Literal["error", "warning"]]

_INT64_SINCE = (10, 0)


def check_inputs(model: ir.Model, job: Job) -> Iterator[tuple[str, Finding]]:
    """(input name, finding) for dynamic dims without a range and for clashing dim names."""
    users: dict[str, list[tuple[str, int, DimRange | None]]] = defaultdict(list)
    for value in graph_inputs(model):
        name = value.name or "?"
        given = job.shapes.get(name, ())
        if value.shape is None:
            yield name, ("its rank is unknown", f"give --shape {name}=...", "error")
            continue
        for axis, dim in enumerate(value.shape.dims):
            if isinstance(dim, int):
                continue
            wanted = given[axis] if axis < len(given) else None
            if wanted is None:
                yield name, _no_range(name, axis, dim)
            if dim.value:
                users[dim.value].append((name, axis, wanted))
    for dim_name, places in users.items():
        yield from _check_shared(dim_name, places)


def graph_inputs(model: ir.Model) -> list[ir.Value]:
    """Inputs a caller feeds: those without an initializer."""
    return [value for value in model.graph.inputs if value.const_value is None]


def _no_range(name: str, axis: int, dim: ir.SymbolicDim) -> Finding:
    return (
        f"dim {axis} ('{dim.value}') has neither a size nor a range, and an engine needs min, opt and max",
        f"give --shape {name}=... with a size or LOW..HIGH for it",
        "error",
    )


def _check_shared(
    dim_name: str, places: list[tuple[str, int, DimRange | None]]
) -> Iterator[tuple[str, Finding]]:
    """TensorRT reads one dim_param in two places as "these are equal"."""
    if len(places) < 2:
        return
    ranges = {(place[2].low, place[2].high) for place in places if place[2] is not None}
    where = ", ".join(f"{name}[{axis}]" for name, axis, _ in places)
    rule = f"dim name '{dim_name}' stands in {where}, which TensorRT reads as equal sizes"
    if len(ranges) > 1 or dim_name == "?":
        yield places[0][0], (rule, "give these dims names of their own, or fix them", "error")
    elif len({name for name, _, _ in places}) < len(places):
        yield places[0][0], (rule, "rename them if they may differ", "warning")


def check_tensor_types(model: ir.Model, table: OpTable) -> Iterator[tuple[str, Finding]]:
    """(tensor name, finding) for double weights, and INT64 or double at the graph's edge."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None and value.const_value.dtype is ir.DataType.DOUBLE:
                yield (
                    value.name or "?",
                    ("double weights are read as FP32", "export the model in float32", "warning"),
                )
    takes_int64 = version_key(table.asked) >= _INT64_SINCE
    for value in (*graph_inputs(model), *model.graph.outputs):
        if value.dtype is ir.DataType.DOUBLE:
            yield value.name or "?", ("a double tensor is read as FP32", "export it as float32", "warning")
        elif value.dtype is ir.DataType.INT64 and not takes_int64:
            rule = f"TensorRT {table.asked} has INT32 where this graph input or output is INT64"
            yield value.name or "?", (rule, "feed and read it as INT32", "warning")
        elif value.dtype in (ir.DataType.STRING, ir.DataType.COMPLEX64, ir.DataType.COMPLEX128):
            yield value.name or "?", ("TensorRT has no such tensor type", "cut the model after it", "error")

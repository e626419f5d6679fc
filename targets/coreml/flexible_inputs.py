"""Inputs whose sizes the run chooses, in ranges that the user gave: checked, then described to Core ML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit._values import Gap
from edgekit.passes._rewire import static_shape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit._values import Component, DimRange
    from edgekit.target import Job
    from edgekit.targets.coreml.graph import Graph

TARGET = "coreml"


def range_gaps(component: Component, job: Job) -> list[Gap]:
    """Inputs with a dim that is neither fixed nor in a range."""
    return [
        Gap(
            TARGET,
            component.name,
            "",
            "input",
            f"'{value.name}' has the shape {value.shape}, and Core ML needs a size or a range for each dim",
            f"add --shape {value.name}=N,N,... (LOW..HIGH keeps a dim open)",
        )
        for value in component.model.graph.inputs
        if static_shape(value) is None and not _covers(job.shapes.get(value.name or ""), value)
    ]


def _covers(given: tuple[DimRange, ...] | None, value: Any) -> bool:
    return given is not None and value.shape is not None and len(given) == len(value.shape)


def describe_inputs(graph: Graph, job: Job, names: Mapping[str, str]) -> list[Any] | None:
    """coremltools' input types where some input is open; None where all are fixed.

    The size that Core ML takes for its default is the lowest of each range.
    """
    if all(tensor.is_static for tensor in graph.inputs):
        return None
    return [_describe(tensor.name, tensor.shape, tensor.dtype, job=job, name=names[tensor.name])
            for tensor in graph.inputs]  # fmt: skip


def _describe(source: str, shape: tuple[int | str, ...], dtype: str, *, job: Job, name: str) -> Any:
    import coremltools
    import numpy as np

    ranges = job.shapes.get(source)
    dims = [
        dim if isinstance(dim, int) or ranges is None else _open(ranges[axis])
        for axis, dim in enumerate(shape)
    ]
    return coremltools.TensorType(name=name, shape=coremltools.Shape(dims), dtype=np.dtype(dtype).type)


def _open(wish: DimRange) -> Any:
    import coremltools

    return coremltools.RangeDim(lower_bound=wish.low, upper_bound=wish.high, default=wish.low)

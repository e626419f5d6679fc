"""What a package says of its inputs beyond fixed arrays: ranges, listed sizes, pictures; checked first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit._values import Gap
from edgekit.errors import UsageError
from edgekit.passes._rewire import static_shape
from edgekit.targets.coreml.options import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from edgekit._values import Component, DimRange
    from edgekit.target import Job
    from edgekit.targets.coreml.graph import Graph, Tensor
    from edgekit.targets.coreml.options import Options, Picture

TARGET = "coreml"
_LAYOUTS = {"rgb": "RGB", "bgr": "BGR", "gray": "GRAYSCALE"}


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


def _covers(given: tuple[DimRange, ...] | None, value: ir.Value) -> bool:
    return given is not None and value.shape is not None and len(given) == len(value.shape)


def check_inputs(component: Component, job: Job, options: Options) -> None:
    """UsageError for a picture or listed sizes that no input can have."""
    inputs = {value.name or "": value for value in component.model.graph.inputs}
    for option, names in (("image", options.image), ("sizes", options.sizes)):
        for name in names:
            if name not in inputs:
                raise UsageError(
                    f"option {option}: the model has no input '{name}'",
                    fix=f"name one of: {', '.join(inputs)}",
                )
    for name, picture in options.image.items():
        _check_picture(inputs[name], picture)
    for name, shapes in options.sizes.items():
        _check_sizes(inputs[name], shapes, job.shapes.get(name))


def _check_picture(value: ir.Value, picture: Picture) -> None:
    dims = () if value.shape is None else tuple(value.shape)
    kind = "" if value.dtype is None else value.dtype.name
    wanted = CHANNELS[picture.layout]
    if kind != "FLOAT" or len(dims) != 4 or dims[0] != 1 or dims[1] != wanted:
        raise UsageError(
            f"option image: input '{value.name}' is {kind} {value.shape}, and a picture in {picture.layout} "
            f"is a float input [1, {wanted}, height, width]",
            fix="fix the batch with --shape, or leave the option out",
        )


def _check_sizes(
    value: ir.Value, shapes: Sequence[tuple[int, ...]], ranges: tuple[DimRange, ...] | None
) -> None:
    dims = () if value.shape is None else tuple(value.shape)
    for shape in shapes:
        fits = len(shape) == len(dims) and all(
            size == dim
            if isinstance(dim, int)
            else ranges is not None and ranges[i].low <= size <= ranges[i].high
            for i, (size, dim) in enumerate(zip(shape, dims, strict=True))
        )
        if not fits:
            raise UsageError(
                f"option sizes: {list(shape)} does not fit input '{value.name}' {value.shape}",
                fix=f"give ranges that hold all sizes: --shape {value.name}=LOW..HIGH,...",
            )


def describe_inputs(graph: Graph, job: Job, options: Options, names: Mapping[str, str]) -> list[Any] | None:
    """coremltools' input types where some input is more than a fixed array; None where none is.

    The size that Core ML takes for its default is the first listed, or the lowest of each range.
    """
    plain = all(tensor.is_static for tensor in graph.inputs) and not options.image and not options.sizes
    if plain:
        return None
    return [_describe(tensor, job, options, names[tensor.name]) for tensor in graph.inputs]


def _describe(tensor: Tensor, job: Job, options: Options, name: str) -> Any:
    import coremltools
    import numpy as np

    shape = _shape(tensor, job, options)
    picture = options.image.get(tensor.name)
    if picture is None:
        return coremltools.TensorType(name=name, shape=shape, dtype=np.dtype(tensor.dtype).type)
    bias = list(picture.bias) if picture.layout != "gray" else picture.bias[0]
    layout: Any = getattr(coremltools.colorlayout, _LAYOUTS[picture.layout])
    return coremltools.ImageType(name=name, shape=shape, scale=picture.scale, bias=bias, color_layout=layout)


def _shape(tensor: Tensor, job: Job, options: Options) -> Any:
    import coremltools

    listed = options.sizes.get(tensor.name)
    if listed is not None and not tensor.is_static:
        return coremltools.EnumeratedShapes(shapes=[list(shape) for shape in listed], default=list(listed[0]))
    ranges = job.shapes.get(tensor.name)
    dims = [
        dim if isinstance(dim, int) or ranges is None else _open(ranges[axis])
        for axis, dim in enumerate(tensor.shape)
    ]
    return coremltools.Shape(dims)


def _open(wish: DimRange) -> Any:
    import coremltools

    return coremltools.RangeDim(lower_bound=wish.low, upper_bound=wish.high, default=wish.low)

"""Resize: MIL's own operations where they compute the same, else exact positions or weights an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit._lowering import Refused
from edgekit._lowering.resize_axis import (
    RESIZE_ATTRIBUTES,
    axis_matrix,
    axis_scale,
    interpolates,
    scaled_matrix,
)
from edgekit.targets.coreml.call import FIXED, Call, rule
from edgekit.targets.coreml.graph import Tensor, constant
from edgekit.targets.coreml.rules.probed import weighed

if TYPE_CHECKING:
    from numpy.typing import NDArray

# MIL's sampling modes: source position of output i, from the sizes (its documentation's formulas).
_SAMPLING = {
    "UNALIGN_CORNERS": lambda i, old, new: (i + 0.5) * (old / new) - 0.5,
    "STRICT_ALIGN_CORNERS": lambda i, old, new: i * ((old - 1) / (new - 1) if new > 1 else 0.0),
    "DEFAULT": lambda i, old, new: i * (old / new),
}


@rule("Resize", RESIZE_ATTRIBUTES)
def resize(call: Call) -> Tensor:
    """Y = X at another size."""
    mode = call.text("coordinate_transformation_mode", "half_pixel")
    if mode == "tf_crop_and_resize":
        return weighed(call)
    if not call.x.is_static:
        return _of_open_size(call)
    x, size = call.x, call.out.sizes
    _require_stretch(call)
    matrices = {
        axis: axis_matrix(call, x.sizes[axis], size[axis], axis_scale(call, axis))
        for axis in range(x.rank)
        if x.sizes[axis] != size[axis] or axis_scale(call, axis) not in (None, 1.0)
    }
    if x.dtype == "float32" and x.rank in (3, 4) and matrices and min(matrices) >= x.rank - 2:
        found = _native(call, matrices)
        if found is not None:
            return found
    for axis, matrix in matrices.items():
        x = _along(call, x, axis, matrix)
    return x if matrices else call.emit("identity", x=x)


_SAMPLED = (5, 8)  # sizes at which an open dim's matrix is looked at


def _of_open_size(call: Call) -> Tensor:
    """Whole scales of the last two axes, for sizes that only the run knows."""
    scales = call.optional_array(2)
    call.require(
        scales is not None and scales.size == call.x.rank, "its sizes are given, not its scales", FIXED
    )
    assert scales is not None
    whole = all(float(scale).is_integer() for scale in scales) and np.all(scales[:-2] == 1)
    call.require(call.x.rank == 4 and whole, f"its scales {list(scales)} on an open size", FIXED)
    height, width = (float(scale) for scale in scales[-2:])
    factors = {"scale_factor_height": height, "scale_factor_width": width}
    matrices = [scaled_matrix(call, size, scale) for scale in (height, width) for size in _SAMPLED]
    if all(_is_repeat(matrix) for matrix in matrices):
        return call.emit("upsample_nearest_neighbor", x=call.x, **factors)
    for name, aligned in (("UNALIGN_CORNERS", False), ("STRICT_ALIGN_CORNERS", True)):
        if all(interpolates(matrix, _SAMPLING[name]) for matrix in matrices):
            return call.emit("upsample_bilinear", x=call.x, align_corners=aligned, **factors)
    raise Refused("this mode on an open size has no Core ML form", FIXED)


def _require_stretch(call: Call) -> None:
    """With another policy ONNX's scale is exact where the sizes are rounded; whole ones are the same."""
    if call.text("keep_aspect_ratio_policy", "stretch") == "stretch":
        return
    ratios = {new / old for old, new in zip(call.x.sizes, call.out.sizes, strict=True) if new != old}
    call.require(
        len(ratios) <= 1, "keep_aspect_ratio_policy gives sizes that are rounded", "give whole scales"
    )


def _along(call: Call, x: Tensor, axis: int, matrix: NDArray[np.float32]) -> Tensor:
    """One axis: a gather where every row of the matrix picks one value, else a product."""
    size = tuple(len(matrix) if i == axis else dim for i, dim in enumerate(x.shape))
    if np.all((matrix == 0) | (matrix == 1)) and np.all(matrix.sum(1) == 1):
        return call.add("gather", size, x=x, indices=constant(matrix.argmax(1).astype(np.int32)), axis=axis)
    call.require(x.dtype == "float32", f"this mode has no form on {x.dtype}")
    order = [i for i in range(x.rank) if i != axis] + [axis]
    moved = call.transpose(x, order)
    weight = constant(np.ascontiguousarray(matrix.T))
    made = call.add("matmul", (*moved.shape[:-1], len(matrix)), x=moved, y=weight,
                    transpose_x=False, transpose_y=False)  # fmt: skip
    return call.transpose(made, [order.index(i) for i in range(x.rank)])


def _native(call: Call, matrices: dict[int, NDArray[np.float32]]) -> Tensor | None:
    """MIL's operation that gives these matrices, None where no choice does."""
    old, new = call.x.sizes[-2:], call.out.sizes[-2:]
    given = [matrices.get(call.x.rank - 2 + i, np.eye(old[i], dtype=np.float32)) for i in range(2)]
    if all(_is_repeat(matrix) for matrix in given):
        factors = [n // o for n, o in zip(new, old, strict=True)]
        return call.emit(
            "upsample_nearest_neighbor",
            x=call.x,
            scale_factor_height=float(factors[0]),
            scale_factor_width=float(factors[1]),
        )
    for name, position in _SAMPLING.items():
        if all(interpolates(matrix, position) for matrix in given):
            return call.emit(
                "resize_bilinear",
                x=call.x,
                target_size_height=new[0],
                target_size_width=new[1],
                sampling_mode=name,
            )
    return None


def _is_repeat(matrix: NDArray[np.float32]) -> bool:
    """Each source value, k times: what whole-number nearest upsampling does under any sampling."""
    new, old = matrix.shape
    return new % old == 0 and bool(np.array_equal(matrix, np.repeat(np.eye(old), new // old, 0)))

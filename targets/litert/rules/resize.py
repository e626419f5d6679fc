"""Resize: LiteRT's two operators where they compute the same, else exact positions or weights an axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit._lowering.resize_axis import RESIZE_ATTRIBUTES, axis_matrix, axis_scale, interpolates
from edgekit.targets.litert.call import Call, rule
from edgekit.targets.litert.graph import Tensor, int32s
from edgekit.targets.litert.layout_rules import is_whole
from edgekit.targets.litert.rules.matmul import along_last
from edgekit.targets.litert.rules.probed import weighed
from edgekit.targets.litert.rules.shape import gathered

# LiteRT's plain int8 kernels hold weights in whole 1/1024; other weights are 3 steps off there.
_WHOLE = 1024
# What LiteRT's kernels compute: source position of output i, from sizes alone.
_POSITIONS = {
    "asymmetric": lambda i, old, new: i * (old / new),
    "half_pixel": lambda i, old, new: (i + 0.5) * (old / new) - 0.5,
    "align_corners": lambda i, old, new: i * ((old - 1) / (new - 1) if new > 1 else 0.0),
}


@rule("Resize", RESIZE_ATTRIBUTES)
def resize(call: Call) -> Tensor:
    """Y = X at another size; channels last."""
    x, shape = call.x, call.out.shape
    if is_whole(call.node):
        return weighed(call)
    matrices = {
        axis: axis_matrix(call, x.shape[axis], shape[axis], _scale(call, axis))
        for axis in range(x.rank)
        if x.shape[axis] != shape[axis] or _scale(call, axis) not in (None, 1.0)
    }
    if x.rank == 4 and matrices and set(matrices) <= {1, 2}:
        options = _operator_options(call, matrices)
        if options is not None:
            code = "RESIZE_NEAREST_NEIGHBOR" if _picks(call) else "RESIZE_BILINEAR"
            return call.emit(code, [x, int32s(shape[1:3])], **options)
    current = list(x.shape)
    for axis, matrix in matrices.items():
        current[axis] = shape[axis]
        if np.all((matrix == 0) | (matrix == 1)) and np.all(matrix.sum(1) == 1):
            x = gathered(call, x, matrix.argmax(1), axis)
        else:
            call.require(
                x.dtype == "float32", "this mode has no int8 LiteRT form", "keep it out with --float"
            )
            x = along_last(call, x, matrix, axis, current)
    return x


def _picks(call: Call) -> bool:
    return call.text("mode", "nearest") == "nearest"


def _logical(axis: int, rank: int) -> int:
    """Physical axis (channels last) -> ONNX's axis; `plain` ranks below 3 keep theirs."""
    if rank < 3 or axis == 0:
        return axis
    return 1 if axis == rank - 1 else axis + 1


def _scale(call: Call, axis: int) -> float | None:
    return axis_scale(call, _logical(axis, call.x.rank))


def _operator_options(call: Call, matrices: dict[int, Any]) -> dict[str, bool] | None:
    """The fields of LiteRT's operator that give these matrices, None where no choice does."""
    for name, position in _POSITIONS.items():
        if _picks(call) and name == "align_corners":
            continue
        if all(_agrees(call, matrix, position) for matrix in matrices.values()):
            return {"alignCorners": name == "align_corners", "halfPixelCenters": name == "half_pixel"}
    return None


def _agrees(call: Call, matrix: Any, position: Any) -> bool:
    new, old = matrix.shape
    if _picks(call):
        # LiteRT picks floor(i * old / new), or with half pixels floor((i + 0.5) * old / new).
        half = 0.5 if position is _POSITIONS["half_pixel"] else 0.0
        places = np.minimum(np.floor((np.arange(new) + half) * np.float32(old / new)), old - 1).astype(int)
        return bool(np.array_equal(matrix, np.eye(old)[places]))
    if call.x.dtype == "int8" and np.any(matrix * _WHOLE != np.rint(matrix * _WHOLE)):
        return False
    return interpolates(matrix, position)

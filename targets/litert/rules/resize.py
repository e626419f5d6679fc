"""Resize: LiteRT's two operators where they compute the same, else exact positions or weights an axis.

Resizing is linear and works axis by axis, so ONNX Runtime itself is asked for each axis's matrix: the
Resize of an identity. Whatever the mode, that matrix says what must come out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from edgekit._lowering import Refused
from edgekit.targets.litert.call import Call, rule
from edgekit.targets.litert.graph import Tensor, int32s
from edgekit.targets.litert.layout_rules import is_whole
from edgekit.targets.litert.rules.matmul import along_last
from edgekit.targets.litert.rules.probed import weighed
from edgekit.targets.litert.rules.shape import gathered

_ATTRIBUTES = (
    "antialias axes coordinate_transformation_mode cubic_coeff_a exclude_outside extrapolation_value "
    "keep_aspect_ratio_policy mode nearest_mode"
)
_LARGEST_MATRIX = 16 * 2**20
# LiteRT's plain int8 kernels hold weights in whole 1/1024; other weights are 3 steps off there.
_WHOLE = 1024
# What LiteRT's kernels compute: source position of output i, from sizes alone.
_POSITIONS = {
    "asymmetric": lambda i, old, new: i * (old / new),
    "half_pixel": lambda i, old, new: (i + 0.5) * (old / new) - 0.5,
    "align_corners": lambda i, old, new: i * ((old - 1) / (new - 1) if new > 1 else 0.0),
}


@rule("Resize", _ATTRIBUTES)
def resize(call: Call) -> Tensor:
    """Y = X at another size; channels last."""
    x, shape = call.x, call.out.shape
    if is_whole(call.node):
        return weighed(call)
    matrices = {
        axis: _matrix(call, axis)
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


def _entry(call: Call, index: int, axis: int) -> float | None:
    """This axis's entry of roi, scales or sizes, through the attribute `axes`."""
    values = call.optional_array(index)
    if values is None or not values.size:
        return None
    rank = call.x.rank
    axes = [item % rank for item in call.ints("axes", range(rank))]
    own = _logical(axis, rank)
    return float(values.reshape(-1)[axes.index(own)]) if own in axes else None


def _scale(call: Call, axis: int) -> float | None:
    return _entry(call, 2, axis)


def _matrix(call: Call, axis: int) -> Any:
    """[new, old]: the weights of one axis, from ONNX Runtime on an identity."""
    import onnxruntime as ort

    old, new = call.x.shape[axis], call.out.shape[axis]
    if old * new > _LARGEST_MATRIX:
        raise Refused(
            f"resizing {old} to {new} is beyond what edgekit writes out", "resize to a smaller size"
        )
    scale = _scale(call, axis)
    if scale is None:
        given = {"sizes": np.array([1, 1, old, new], np.int64)}
    else:
        given = {"scales": np.array([1, 1, 1, scale], np.float32)}
    names = [
        "antialias", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside",
        "extrapolation_value", "mode", "nearest_mode",
    ]  # fmt: skip
    attributes = {name: call.attribute(name) for name in names if call.given(name)}
    inputs = ["x", "", *(("scales",) if scale is not None else ("", "sizes"))]
    node = onnx.helper.make_node("Resize", inputs, ["y"], **attributes)
    infos = [onnx.helper.make_tensor_value_info("x", 1, [1, 1, old, old])]
    results = [onnx.helper.make_tensor_value_info("y", 1, None)]
    weights = [onnx.numpy_helper.from_array(array, name) for name, array in given.items()]
    graph = onnx.helper.make_graph([node], "axis", infos, results, weights)
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", max(call.opset, 13))], ir_version=8
    )
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        made: Any = session.run(None, {"x": np.eye(old, dtype=np.float32)[None, None]})[0]
    except Exception as error:
        raise Refused(f"ONNX Runtime cannot resize an axis like this ({str(error)[:120]})") from error
    call.require(made.shape[-1] == new, "its sizes do not follow from its scales")
    aligned = call.text("coordinate_transformation_mode", "half_pixel") == "align_corners"
    call.require(
        not aligned or scale is None or abs(scale * old - new) < 1e-3,
        "with align_corners and a scale that gives no whole size, ONNX and ONNX Runtime compute differently",
        "give sizes instead of scales",
    )
    return made[0, 0].T


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
    at = np.clip(np.array([position(i, old, new) for i in range(new)]), 0, old - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, old - 1)
    eye = np.eye(old)
    expected = eye[low] * (1 - (at - low))[:, None] + eye[high] * (at - low)[:, None]
    return bool(np.abs(expected - matrix).max() < 1e-5)

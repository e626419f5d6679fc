"""What Resize does to one axis, as a matrix, whatever its mode: ONNX Runtime resizes an identity.

Resizing is linear and works axis by axis, so that matrix says what must come out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgekit._lowering.refused import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgekit._lowering.node_call import NodeCall

    Matrix = NDArray[np.float32]

#: What a rule that asks for an axis's matrix honours.
RESIZE_ATTRIBUTES = (
    "antialias axes coordinate_transformation_mode cubic_coeff_a exclude_outside extrapolation_value "
    "keep_aspect_ratio_policy mode nearest_mode"
)
_OF_ONE_AXIS = (
    "antialias", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside",
    "extrapolation_value", "mode", "nearest_mode",
)  # fmt: skip
_LARGEST_MATRIX = 16 * 2**20


def axis_scale(call: NodeCall[Any], axis: int) -> float | None:
    """This axis's entry of `scales`, through the attribute `axes`; `axis` is ONNX's. None without one."""
    values = call.optional_array(2)
    if values is None or not values.size:
        return None
    axes = [item % call.x.rank for item in call.ints("axes", range(call.x.rank))]
    return float(values.reshape(-1)[axes.index(axis)]) if axis in axes else None


def axis_matrix(call: NodeCall[Any], old: int, new: int, scale: float | None) -> Matrix:
    """[new, old]: the weights of one axis. Raises Refused where ONNX and ONNX Runtime may differ."""
    call.require(
        old * new <= _LARGEST_MATRIX,
        f"resizing {old} to {new} is beyond what edgekit writes out",
        "resize to a smaller size",
    )
    if scale is None:
        made = _resize_identity(call, old, sizes=np.array([1, 1, old, new], np.int64))
    else:
        made = scaled_matrix(call, old, scale)
    call.require(len(made) == new, "its sizes do not follow from its scales")
    aligned = call.text("coordinate_transformation_mode", "half_pixel") == "align_corners"
    call.require(
        not aligned or scale is None or abs(scale * old - new) < 1e-3,
        "with align_corners and a scale that gives no whole size, ONNX and ONNX Runtime compute differently",
        "give sizes instead of scales",
    )
    return made


def scaled_matrix(call: NodeCall[Any], old: int, scale: float) -> Matrix:
    """The weights of one axis of `old` values, resized by a scale."""
    return _resize_identity(call, old, scales=np.array([1, 1, 1, scale], np.float32))


def interpolates(matrix: Matrix, position: Callable[[int, int, int], float]) -> bool:
    """Whether output i is the linear mean around `position(i, old, new)`, clamped to the axis."""
    new, old = matrix.shape
    at = np.clip(np.array([position(i, old, new) for i in range(new)]), 0, old - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, old - 1)
    eye = np.eye(old)
    expected = eye[low] * (1 - (at - low))[:, None] + eye[high] * (at - low)[:, None]
    return bool(np.abs(expected - matrix).max() < 1e-5)


def _resize_identity(call: NodeCall[Any], old: int, **given: NDArray[Any]) -> Matrix:
    """The node on the last axis of an identity, with these sizes or scales."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(
            _axis_model(call, old, given), options, providers=["CPUExecutionProvider"]
        )
        made: Any = session.run(None, {"x": np.eye(old, dtype=np.float32)[None, None]})[0]
    except Exception as error:
        raise Refused(f"ONNX Runtime cannot resize an axis like this ({str(error)[:120]})") from error
    weights: Matrix = made[0, 0].T
    return weights


def _axis_model(call: NodeCall[Any], old: int, given: dict[str, NDArray[Any]]) -> bytes:
    attributes = {name: call.attribute(name) for name in _OF_ONE_AXIS if call.given(name)}
    inputs = ["x", "", *(("scales",) if "scales" in given else ("", "sizes"))]
    node = onnx.helper.make_node("Resize", inputs, ["y"], **attributes)
    infos = [onnx.helper.make_tensor_value_info("x", 1, [1, 1, old, old])]
    results = [onnx.helper.make_tensor_value_info("y", 1, None)]
    weights = [onnx.numpy_helper.from_array(array, name) for name, array in given.items()]
    graph = onnx.helper.make_graph([node], "axis", infos, results, weights)
    opset = onnx.helper.make_opsetid("", max(call.opset, 13))
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    return bytes(model.SerializeToString())

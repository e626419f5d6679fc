"""The changes that ONNX made to ops between opset 7 and 17, one function each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.errors import ModelError
from edgekit.passes._rewire import constant_array, graph_of, input_of, take_over

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgekit.passes._rewire import Names


@dataclass(frozen=True)
class Adapter:
    """What happens to `ops` when the opset reaches `since`."""

    ops: frozenset[str]
    since: int
    apply: Callable[[ir.Node, Names], None]


def _refuse(node: ir.Node, why: str) -> ModelError:
    return ModelError(f"{node.op_type} '{node.name}': {why}", fix="export the model again with opset 17")


def _pop(node: ir.Node, name: str) -> ir.Attr | None:
    return node.attributes.pop(name, None)


def _ints(attribute: ir.Attr) -> np.ndarray:
    return np.array(attribute.as_ints(), np.int64)


def _set_input(node: ir.Node, index: int, array: np.ndarray | None, names: Names) -> None:
    """Put a constant at an input; None leaves it out."""
    if array is None:
        return
    if len(node.inputs) <= index:
        node.resize_inputs(index + 1)
    name = f"{node.outputs[0].name}/input{index}"
    node.replace_input_with(index, names.add_initializer(graph_of(node), name, array))


def _numpy_dtype(node: ir.Node) -> np.dtype:
    """Dtype of the first input; float32 where inference has not named it."""
    value = node.inputs[0]
    return np.dtype(np.float32) if value is None or value.dtype is None else value.dtype.numpy()


def _drop_spatial(node: ir.Node, _: Names) -> None:
    """BatchNormalization 7 -> 9: `spatial` goes; 0 (statistics per element) has no later form."""
    spatial = _pop(node, "spatial")
    if spatial is not None and spatial.as_int() == 0:
        raise _refuse(node, "spatial=0 has no form after opset 8")


def _refuse_training(node: ir.Node, _: Names) -> None:
    """BatchNormalization 9 -> 14: the four extra outputs of training are gone."""
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        raise _refuse(node, "it gives out training statistics")
    if len(node.outputs) > 1:
        node.resize_outputs(1)


def _clip_bounds(node: ir.Node, names: Names) -> None:
    """Clip 6 -> 11: min and max become inputs (scalars of the input's dtype)."""
    dtype = _numpy_dtype(node)
    for index, name in ((1, "min"), (2, "max")):
        bound = _pop(node, name)
        _set_input(node, index, None if bound is None else np.array(bound.as_float(), dtype), names)


def _dropout_ratio(node: ir.Node, names: Names) -> None:
    """Dropout 7/10 -> 12: ratio becomes an input; the mask of opset 7 has another dtype than later ones."""
    ratio = _pop(node, "ratio")
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        raise _refuse(node, "its mask is used")
    _set_input(node, 1, None if ratio is None else np.array(ratio.as_float(), np.float32), names)


def _pad_inputs(node: ir.Node, names: Names) -> None:
    """Pad 2 -> 11: pads and value become inputs."""
    pads, value = _pop(node, "pads"), _pop(node, "value")
    _set_input(node, 1, None if pads is None else _ints(pads), names)
    fill = np.array(0.0 if value is None else value.as_float(), _numpy_dtype(node))
    _set_input(node, 2, fill, names)


def _slice_inputs(node: ir.Node, names: Names) -> None:
    """Slice 1 -> 10: starts, ends and axes become inputs."""
    for index, name in ((1, "starts"), (2, "ends"), (3, "axes")):
        attribute = _pop(node, name)
        _set_input(node, index, None if attribute is None else _ints(attribute), names)


def _axes_input(node: ir.Node, names: Names) -> None:
    """Squeeze, Unsqueeze, ReduceSum 11 -> 13: axes becomes an input."""
    axes = _pop(node, "axes")
    _set_input(node, 1, None if axes is None else _ints(axes), names)


def _split_input(node: ir.Node, names: Names) -> None:
    """Split 2 -> 13: split becomes an input."""
    split = _pop(node, "split")
    _set_input(node, 1, None if split is None else _ints(split), names)


def _topk_input(node: ir.Node, names: Names) -> None:
    """TopK 1 -> 10: k becomes an input."""
    k = _pop(node, "k")
    _set_input(node, 1, None if k is None else np.array([k.as_int()], np.int64), names)


def _scatter_name(node: ir.Node, _: Names) -> None:
    """Scatter 9 -> ScatterElements 11."""
    node.op_type = "ScatterElements"


def _upsample_scales(node: ir.Node, names: Names) -> None:
    """Upsample 7 -> 9: scales becomes an input."""
    scales = _pop(node, "scales")
    if scales is not None:
        _set_input(node, 1, np.array(scales.as_floats(), np.float32), names)


def _resize_modes(node: ir.Node, _: Names) -> None:
    """Upsample 9 and Resize 10 -> Resize 11: (X, scales) -> (X, roi, scales), asymmetric."""
    scales = node.inputs[1]
    nearest = _nearest_mode(node)
    node.op_type = "Resize"
    node.resize_inputs(3)
    node.replace_input_with(1, None)
    node.replace_input_with(2, scales)
    node.attributes["coordinate_transformation_mode"] = ir.AttrString(
        "coordinate_transformation_mode", "asymmetric"
    )
    node.attributes["nearest_mode"] = ir.AttrString("nearest_mode", nearest)


def _nearest_mode(node: ir.Node) -> str:
    """ONNX Runtime's opset 10 takes the pixel above where it enlarges and the one below where it shrinks."""
    mode = node.attributes.get("mode")
    if node.op_type == "Upsample" or (mode is not None and mode.as_string() != "nearest"):
        return "floor"
    scales = constant_array(node.inputs[1])
    if scales is None:
        raise _refuse(node, "its scales are computed, and nearest rounding hangs on them in opset 10")
    if np.any(scales < 1) and np.any(scales > 1):
        raise _refuse(node, "it shrinks one axis and enlarges another, which opset 17 rounds alike")
    return "ceil" if np.any(scales < 1) else "floor"


def _resize_empties(node: ir.Node, _: Names) -> None:
    """Resize 11 -> 13: roi and scales, empty where unused, are left out; one coordinate mode is gone."""
    mode = node.attributes.get("coordinate_transformation_mode")
    if mode is not None and mode.as_string() == "tf_half_pixel_for_nn":
        raise _refuse(node, "coordinate_transformation_mode 'tf_half_pixel_for_nn' is gone since opset 13")
    for index in (1, 2):
        array = constant_array(input_of(node, index))
        if array is not None and array.size == 0:
            node.replace_input_with(index, None)


def _flatten_softmax(node: ir.Node, names: Names) -> None:
    """Softmax, LogSoftmax, Hardmax 1/11 -> 13: they took all axes from `axis` on as one; now only `axis`.

    Only dims of 1 behind axis: the same. Else Flatten(axis) -> op on the last axis -> Reshape back.
    """
    attribute = node.attributes.get("axis")
    axis = 1 if attribute is None else attribute.as_int()
    source = node.inputs[0]
    dims = None if source is None or source.shape is None else list(source.shape)
    if axis == -1 or (dims and all(dim == 1 for dim in dims[axis % len(dims) + 1 :])):
        node.attributes["axis"] = ir.AttrInt64("axis", axis)
        return
    shape = names.insert_before(node, "Shape", [source])
    flat = names.insert_before(node, "Flatten", [source], axis=axis)
    normal = names.insert_before(node, node.op_type, [flat], axis=-1)
    old = node.outputs[0]
    back = names.insert_before(node, "Reshape", [normal, shape])
    take_over(back, old)


def _roi_align_mode(node: ir.Node, _: Names) -> None:
    """RoiAlign 10 -> 16: the half-pixel shift became the default; the old form is output_half_pixel."""
    name = "coordinate_transformation_mode"
    node.attributes[name] = ir.AttrString(name, "output_half_pixel")


def _refuse_scan(node: ir.Node, _: Names) -> None:
    """Scan 8 -> 9: the batch axis went."""
    raise _refuse(node, "Scan of opset 8 (with a batch axis) has no later form")


def _adapter(ops: str, since: int, apply: Callable[[ir.Node, Names], None]) -> Adapter:
    return Adapter(frozenset(ops.split()), since, apply)


# In the order of `since`; source: the version history of each op in ONNX's Changelog.md.
ADAPTERS = (
    _adapter("Upsample", 9, _upsample_scales),
    _adapter("BatchNormalization", 9, _drop_spatial),
    _adapter("Scan", 9, _refuse_scan),
    _adapter("Slice", 10, _slice_inputs),
    _adapter("TopK", 10, _topk_input),
    _adapter("Upsample", 11, _resize_modes),
    _adapter("Resize", 11, _resize_modes),
    _adapter("Clip", 11, _clip_bounds),
    _adapter("Pad", 11, _pad_inputs),
    _adapter("Scatter", 11, _scatter_name),
    _adapter("Dropout", 12, _dropout_ratio),
    _adapter("Softmax LogSoftmax Hardmax", 13, _flatten_softmax),
    _adapter("Resize", 13, _resize_empties),
    _adapter("Squeeze Unsqueeze ReduceSum", 13, _axes_input),
    _adapter("Split", 13, _split_input),
    _adapter("BatchNormalization", 14, _refuse_training),
    _adapter("RoiAlign", 16, _roi_align_mode),
)

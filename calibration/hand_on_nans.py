"""Where a NaN shows: ops that hand one on from an input to their result, whatever the other numbers are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

    import onnx_ir as ir

# Each value of each float input takes part in the result, by arithmetic alone: NaN * 0 is NaN. Ops that
# compare (Relu, Clip, pooling) or clamp what they read (Sigmoid, Tanh) may lose one.
_ALWAYS = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "Neg", "MatMul", "Concat"),
        *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"),
        *("GlobalAveragePool", "ReduceMean", "ReduceSum"),
    }
)


def find_handed_on(graph: ir.Graph, seen: Container[ir.Value]) -> set[ir.Value]:
    """The values that need no look for a NaN of their own: it would show in a later value that is `seen`."""
    found: set[ir.Value] = set()
    for node in reversed(graph):
        if any(made in seen or made in found for made in node.outputs[:1]):
            found |= {
                value
                for place, value in enumerate(node.inputs)
                if value is not None and _hands_on(node, place)
            }
    return found


def _hands_on(node: ir.Node, place: int) -> bool:
    """Whether a NaN anywhere in input `place` gives one in the result."""
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type in _ALWAYS:
        return True
    if node.op_type == "Gemm":
        return place < 2 and "alpha" not in node.attributes
    if node.op_type == "Conv":
        return place == 0 and _reads_all(node)
    return node.op_type == "ConvTranspose" and place == 0 and not _is_cropped(node)


def _reads_all(node: ir.Node) -> bool:
    """Whether a convolution's windows cover its whole input: they touch, and the last ends behind it."""
    given, weight = node.attributes, node.inputs[1]
    source, made = node.inputs[0], node.outputs[0]
    if source is None or source.shape is None or made.shape is None or weight is None or weight.shape is None:
        return False
    if "auto_pad" in given and given["auto_pad"].as_string() != "NOTSET":
        return False
    if "dilations" in given and set(given["dilations"].as_ints()) != {1}:
        return False
    kernel, size, count = weight.shape[2:], source.shape[2:], made.shape[2:]
    strides = given["strides"].as_ints() if "strides" in given else [1] * len(kernel)
    pads = given["pads"].as_ints() if "pads" in given else [0] * len(kernel)
    for length, stride, pad, old, new in zip(kernel, strides, pads, size, count, strict=False):
        if stride == 1:
            continue
        if not (isinstance(length, int) and isinstance(old, int) and isinstance(new, int)):
            return False
        if stride > length or (new - 1) * stride - pad + length < old:
            return False
    return True


def _is_cropped(node: ir.Node) -> bool:
    pads = node.attributes["pads"].as_ints() if "pads" in node.attributes else ()
    return any(pads) or "output_shape" in node.attributes or "auto_pad" in node.attributes

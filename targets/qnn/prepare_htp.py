"""A Q/DQ or float component -> the graph that Qualcomm's compiler is given: same numbers, forms it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._qdq.split_activations import split_activations
from edgekit._qdq.to_unsigned import to_unsigned
from edgekit.passes.center_variances import center_variances
from edgekit.passes.flatten_bias import flatten_bias
from edgekit.passes.remove_unused import remove_unused
from edgekit.targets.qnn.rewrite_clips import rewrite_clips

if TYPE_CHECKING:
    import onnx_ir as ir


def prepare_htp(model: ir.Model) -> tuple[ir.Model, tuple[str, ...]]:
    """A prepared clone, and what was done to it in words.

    BatchNorm is fused and constants are folded long before (passes/prepare_component.py): unfused ones were
    refused by the compiler, and a scalar constant broke its graph.
    """
    clone = model.clone()
    notes = []
    moved = to_unsigned(clone)
    if moved:
        notes.append(f"{moved} int8 tensors are uint8 around 128: the same numbers, in codes the HTP wants")
    split = split_activations(clone)
    if split:
        notes.append(f"{split} Relu and Clip nodes were split from the op before them (same numbers)")
    clips = rewrite_clips(clone)
    if clips:
        notes.append(f"{clips} Clip nodes are Relu, Max, Min: the compiler loses a Clip behind a convolution")
    centred = center_variances(clone)
    if centred:
        notes.append(f"{centred} means and variances are in forms that the HTP's float16 holds (same values)")
    flatten_bias(clone)
    clone.metadata_props.clear()  # of no use in a context, and onnxruntime's QNN tools stop at it
    remove_unused(clone)
    return clone, tuple(notes)

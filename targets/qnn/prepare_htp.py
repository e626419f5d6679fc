"""A Q/DQ or float component -> the graph that Qualcomm's compiler is given: same numbers, forms it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._qdq.split_activations import split_activations
from edgekit._qdq.to_unsigned import to_unsigned
from edgekit.errors import ModelError
from edgekit.passes.center_variances import center_variances
from edgekit.passes.flatten_bias import flatten_bias
from edgekit.passes.fuse_hardswish import fuse_hardswish, fuse_unscaled_hardswish
from edgekit.passes.reach_opset import reach_opset
from edgekit.passes.remove_unused import remove_unused
from edgekit.passes.split_log_powers import split_log_powers
from edgekit.targets.qnn.quantize_chains import quantize_chains
from edgekit.targets.qnn.rewrite_clips import rewrite_clips
from edgekit.targets.qnn.widen_products import widen_products

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from edgekit.targets.qnn.chips import Chip

_WIDE_OPSET, _WIDE_IR = 21, 10  # uint16 came to Q and DQ with them
_INT16_FROM = 73  # Hexagon version whose products take int16 on the right


def prepare_htp(model: ir.Model, chips: Sequence[Chip]) -> tuple[ir.Model, tuple[str, ...]]:
    """A prepared clone for all of the chips, and what was done to it in words.

    BatchNorm is fused and constants are folded long before (passes/prepare_component.py): unfused ones were
    refused by the compiler, and a scalar constant broke its graph.
    """
    clone = model.clone()
    notes = []
    narrow = _count_int4(clone)
    if narrow:
        notes.append(
            f"{narrow} weights are int4 with a scale a channel; small ones and grouped convolutions' int8"
        )
    moved = to_unsigned(clone)
    if moved:
        notes.append(f"{moved} int8 tensors are uint8 around 128: the same numbers, in codes the HTP wants")
    holds_16_bits = _reach_16_bits(clone)
    swishes = fuse_hardswish(clone) + fuse_unscaled_hardswish(clone) if holds_16_bits else 0
    if swishes:
        notes.append(f"{swishes} hard swishes are one operator each (same values)")
    split = split_activations(clone)
    if split:
        notes.append(f"{split} Relu and Clip nodes were split from the op before them (same numbers)")
    clips = rewrite_clips(clone)
    if clips:
        notes.append(f"{clips} Clip nodes are Relu, Max, Min: the compiler loses a Clip behind a convolution")
    centred = center_variances(clone)
    if centred:
        notes.append(f"{centred} means and variances are in forms that the HTP's float16 holds (same values)")
    logarithms = split_log_powers(clone)
    if logarithms:
        notes.append(f"{logarithms} logarithms of powers are in a form that float16 holds (same values)")
    chains = quantize_chains(clone) if holds_16_bits else 0
    if chains:
        notes.append(f"{chains} pointwise nodes between integer tensors compute in 16 bits, not in float16")
    products = widen_products(clone) if all(chip.htp_arch >= _INT16_FROM for chip in chips) else 0
    if products:
        notes.append(f"{products} right sides of 16-bit products are int16: the HTP takes uint16 for 8 bits")
    flatten_bias(clone)
    clone.metadata_props.clear()  # of no use in a context, and onnxruntime's QNN tools stop at it
    remove_unused(clone)
    return clone, tuple(notes)


def _reach_16_bits(model: ir.Model) -> bool:
    """Whether the model has integers, and is brought to an opset whose Q and DQ hold uint16."""
    if not any(node.op_type == "QuantizeLinear" for node in model.graph):
        return False
    try:
        reach_opset(model.clone(), _WIDE_OPSET)
    except ModelError:
        return False  # chains stay in float16
    reach_opset(model, _WIDE_OPSET)
    model.ir_version = max(model.ir_version, _WIDE_IR)
    return True


def _count_int4(model: ir.Model) -> int:
    codes = [node.inputs[0] for node in model.graph if node.op_type == "DequantizeLinear"]
    tensors = [value.const_value for value in codes if value is not None]
    return sum(tensor is not None and tensor.dtype.name == "INT4" for tensor in tensors)

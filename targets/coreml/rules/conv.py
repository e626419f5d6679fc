"""Conv and ConvTranspose in one to three spatial dims."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.targets.coreml.call import Call, rule
from edgekit.targets.coreml.formula import Formula
from edgekit.targets.coreml.window import Window

if TYPE_CHECKING:
    from edgekit.targets.coreml.graph import Tensor

_ATTRIBUTES = "auto_pad dilations group kernel_shape pads strides"


@rule("Conv", _ATTRIBUTES)
def conv(call: Call) -> Tensor:
    """Y = W * X + B; X [N, C, *D], W [O, C/group, *K]."""
    weight = call.operand(1)
    call.require(
        weight.is_constant or set(call.ints("dilations", ())) <= {1},
        "its weight is computed, and with dilations Core ML wants a constant there",
        "export with constants",
    )
    call.require(
        call.given("kernel_shape") is False or call.ints("kernel_shape", ()) == list(weight.sizes[2:]),
        "kernel_shape differs from the weight's shape",
    )
    window = Window(call, weight.sizes[2:])
    made = call.emit(
        "conv",
        x=call.x,
        weight=weight,
        bias=_constant_bias(call),
        strides=window.strides,
        pad_type="custom",
        pad=window.interleaved_pads(),
        dilations=window.dilations,
        groups=call.integer("group", 1),
    )
    return made if call.optional(2) is _constant_bias(call) else _plus_bias(call, made)


def _constant_bias(call: Call) -> Tensor | None:
    """The bias, where Core ML takes it; a computed one is added behind."""
    bias = call.optional(2)
    return bias if bias is not None and bias.is_constant else None


def _plus_bias(call: Call, made: Tensor) -> Tensor:
    bias = call.optional(2)
    if bias is None:
        return made
    return Formula(call).add(made, call.reshape(bias, (bias.size, *(1 for _ in made.shape[2:]))))


@rule("ConvTranspose", f"{_ATTRIBUTES} output_padding output_shape")
def conv_transpose(call: Call) -> Tensor:
    """Y = the transposed convolution; W [C, O/group, *K]."""
    weight = call.operand(1)
    call.require(
        weight.is_constant,
        "its weight is computed, and Core ML wants a constant there",
        "export with constants",
    )
    window = Window(call, weight.sizes[2:], transposed=True)
    pads = window.pads_of_result()
    cut, missing = [max(pad, 0) for pad in pads], [max(-pad, 0) for pad in pads]
    size = [
        dim - sum(missing[2 * i : 2 * i + 2]) if isinstance(dim, int) else dim
        for i, dim in enumerate(call.out.shape[2:])
    ]
    made = call.add(
        "conv_transpose",
        (*call.out.shape[:2], *size),
        x=call.x,
        weight=weight,
        bias=_constant_bias(call) if not any(missing) else None,
        pad_type="custom",
        pad=cut,
        strides=window.strides,
        dilations=window.dilations,
        groups=call.integer("group", 1),
    )
    if any(missing):
        return _padded_result(call, made, missing)
    return made if call.optional(2) is _constant_bias(call) else _plus_bias(call, made)


def _padded_result(call: Call, made: Tensor, missing: list[int]) -> Tensor:
    """Output padding beyond what the windows reach holds nothing but the bias."""
    size = call.out.shape
    wide = call.add("pad", size, x=made, pad=missing, mode="constant", constant_val=0.0)
    return _plus_bias(call, wide)

"""Convolutions on channels-last data; weights are constants and take LiteRT's order here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.targets.litert.call import Call, rule
from edgekit.targets.litert.graph import ROUNDED, Tensor, constant, int32s
from edgekit.targets.litert.layout_rules import is_whole
from edgekit.targets.litert.parameters import bias_tensor, weights_in
from edgekit.targets.litert.rules.probed import weighed
from edgekit.targets.litert.window import Window, read_window, settle_padding

if TYPE_CHECKING:
    from collections.abc import Sequence


@rule("Conv", "auto_pad dilations group kernel_shape pads strides")
def conv(call: Call) -> Tensor:
    """Y = Conv(X, W, B); X [N, *spatial, C], W [O, C/group, *kernel]."""
    weights = call.operand(1)
    spatial = weights.rank - 2
    call.require(1 <= spatial <= 3, f"LiteRT has no {spatial}-D convolution")
    call.require(weights.data is not None or call.x.dtype == "float32", "int8 weights must be constant")
    window = read_window(call, weights.shape[2:], call.x.shape[1:-1], call.out.shape[1:-1])
    if spatial == 3:
        return _conv3d(call, window)
    if spatial == 2:
        return conv2d(call, call.x, weights, window, call.out.shape)
    wide, shape = _wide(call.x.shape), _wide(call.out.shape)
    made = conv2d(call, call.reshape(call.x, wide), _tall(call, weights), window.widened(), shape)
    return call.reshape(made, call.out.shape)


def _tall(call: Call, weights: Tensor) -> Tensor:
    """1-D weights as 2-D ones of height 1."""
    return call.reshape(weights, (*weights.shape[:2], 1, *weights.shape[2:]))


def _wide(shape: Sequence[int]) -> tuple[int, ...]:
    return (shape[0], 1, *shape[1:])


def conv2d(call: Call, x: Tensor, weights: Tensor, window: Window, shape: Sequence[int]) -> Tensor:
    """CONV_2D, or DEPTHWISE_CONV_2D where each input channel is a group of its own."""
    group = call.integer("group", 1)
    channels, count = x.shape[-1], weights.shape[0]
    x, padding = settle_padding(call, x, window)
    options: dict[str, Any] = {
        "padding": padding,
        "strideH": window.strides[0],
        "strideW": window.strides[1],
        "dilationHFactor": window.dilations[0],
        "dilationWFactor": window.dilations[1],
    }
    bias = bias_tensor(call, 2, count, x)
    if group == channels and weights.shape[1] == 1 and group > 1:
        kernel = weights_in(call, weights, (1, 2, 3, 0), 3)
        options["depthMultiplier"] = count // channels
        return call.add("DEPTHWISE_CONV_2D", [x, kernel, bias], shape, like=call.out, **options)
    kernel = weights_in(call, weights, (0, 2, 3, 1), 0)
    return call.add("CONV_2D", [x, kernel, bias], shape, like=call.out, **options)


def _conv3d(call: Call, window: Window) -> Tensor:
    """CONV_3D: data [N, D, H, W, C], weights [D, H, W, C, O]; float and ungrouped only."""
    call.require(call.integer("group", 1) == 1, "LiteRT has no grouped 3-D convolution")
    x, padding = settle_padding(call, call.x, window)
    names = ("D", "H", "W")
    options = {f"stride{name}": size for name, size in zip(names, window.strides, strict=True)}
    options |= {f"dilation{name}Factor": size for name, size in zip(names, window.dilations, strict=True)}
    weights = weights_in(call, call.operand(1), (2, 3, 4, 1, 0), 0)
    bias = bias_tensor(call, 2, weights.shape[-1], x)
    return call.emit("CONV_3D", [x, weights, bias], padding=padding, **options)


@rule("ConvTranspose", "auto_pad dilations group kernel_shape output_padding output_shape pads strides")
def conv_transpose(call: Call) -> Tensor:
    """Y = ConvTranspose(X, W, B); X [N, *spatial, C], W [C, O/group, *kernel]."""
    weights = call.operand(1)
    spatial = weights.rank - 2
    if is_whole(call.node):
        return weighed(call)
    call.require(1 <= spatial <= 2, f"LiteRT has no {spatial}-D transposed convolution")
    call.require(weights.data is not None or call.x.dtype == "float32", "int8 weights must be constant")
    strides = call.ints("strides", [1] * spatial)
    dilations = call.ints("dilations", [1] * spatial)
    begins = _begins(call, weights.shape[2:], strides, dilations)
    x, shape = call.x, call.out.shape
    if spatial == 1:
        weights, strides, dilations, begins = (
            _tall(call, weights),
            [1, *strides],
            [1, *dilations],
            [0, *begins],
        )
        x, shape = call.reshape(x, _wide(x.shape)), _wide(shape)
    weights = _dilated(call, weights, dilations)
    group = call.integer("group", 1)
    call.require(group == 1 or x.dtype not in ROUNDED, "LiteRT has no grouped int8 transposed convolution")
    parts = _parts(call, x, group)
    step = weights.shape[0] // group
    full = [(n - 1) * s + k for n, s, k in zip(x.shape[1:-1], strides, weights.shape[2:], strict=True)]
    # LiteRT takes `output_shape`, and crops or leaves out what lies beyond VALID's full size by itself
    # only under SAME; so the full result is made and the wanted part cut out.
    bias = call.optional(2)
    made = [
        _full(call, part, _part(call, weights, i * step, step), strides=strides, full=full)
        for i, part in enumerate(parts)
    ]
    result = made[0]
    if group > 1:
        channels = shape[-1]
        result = call.add("CONCATENATION", made, (x.shape[0], *full, channels), axis=3)
    result = _cropped(call, result, begins, shape)
    if bias is not None and result.dtype not in ROUNDED:
        result = call.add("ADD", [result, bias], shape)
    return call.reshape(result, call.out.shape)


def _parts(call: Call, x: Tensor, group: int) -> list[Tensor]:
    size = x.shape[-1] // group
    return [
        call.slice(x, (0, 0, 0, i * size), (*x.shape[:-1], size)) if group > 1 else x for i in range(group)
    ]


def _part(call: Call, weights: Tensor, begin: int, count: int) -> Tensor:
    """Weights of one group of input channels; a bias and scales are the whole's."""
    return call.slice(weights, (begin, 0, 0, 0), (count, *weights.shape[1:]))


def _full(call: Call, x: Tensor, weights: Tensor, *, strides: Sequence[int], full: Sequence[int]) -> Tensor:
    """TRANSPOSE_CONV of one group with VALID padding: every product is kept."""
    shape = (x.shape[0], *full, weights.shape[1])
    kernel = weights_in(call, weights, (1, 2, 3, 0), 0)
    inputs: list[Tensor | None] = [int32s(shape), kernel, x]
    if x.dtype in ROUNDED and call.has(2):
        inputs.append(bias_tensor(call, 2, weights.shape[1], x))
    out = Tensor(shape, call.out.dtype, None, call.out.quant)
    options = {"padding": "VALID", "strideH": strides[0], "strideW": strides[1]}
    return call.graph.add("TRANSPOSE_CONV", inputs, out, options)


def _begins(call: Call, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> list[int]:
    """What is cut off at the begin of each spatial dim (ONNX: pads)."""
    count = len(kernel)
    auto = call.text("auto_pad", "NOTSET")
    extra = call.ints("output_padding", [0] * count)
    if auto == "NOTSET" and not call.given("output_shape"):
        return call.ints("pads", [0] * (2 * count))[:count]
    begins = []
    for i in range(count):
        full = (call.x.shape[1 + i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1
        total = max(0, full + extra[i] - call.out.shape[1 + i]) if auto != "VALID" else 0
        # ONNX: the larger half comes first but with SAME_UPPER; ONNX Runtime follows it.
        begins.append(total // 2 if auto == "SAME_UPPER" else total - total // 2)
    return begins


def _dilated(call: Call, weights: Tensor, dilations: Sequence[int]) -> Tensor:
    """Zeros between the kernel's entries: LiteRT's transposed convolution has no dilation."""
    if all(step == 1 for step in dilations):
        return weights
    call.require(weights.data is not None, "computed weights with dilations have no LiteRT form")
    assert weights.data is not None
    height, width = ((k - 1) * d + 1 for k, d in zip(weights.shape[2:], dilations, strict=True))
    wide = np.zeros((*weights.shape[:2], height, width), weights.data.dtype)
    wide[:, :, :: dilations[0], :: dilations[1]] = weights.data
    return constant(wide, weights.quant)


def _cropped(call: Call, x: Tensor, begins: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Cut the wanted part out; output_padding reaches beyond the full result, where there are zeros."""
    missing = [
        max(0, begin + size - have)
        for begin, size, have in zip(begins, shape[1:-1], x.shape[1:-1], strict=True)
    ]
    if any(missing):
        # Only what no product reaches is 0 here; an int8 bias was added already, so it would be lost.
        call.require(x.dtype not in ROUNDED, "output_padding beyond the full result has no int8 LiteRT form")
        table = [[0, 0], *([0, size] for size in missing), [0, 0]]
        sizes = [have + more for have, more in zip(x.shape[1:-1], missing, strict=True)]
        x = call.add("PAD", [x, constant(np.array(table, np.int32))], (x.shape[0], *sizes, x.shape[-1]))
    return call.slice(x, (0, *begins, 0), shape)

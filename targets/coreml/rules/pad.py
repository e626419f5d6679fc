"""Pad: MIL's own where that has the mode, the axes and the dtype, else one gather an axis."""

from __future__ import annotations

import numpy as np

from edgekit.targets.coreml.call import Call, rule
from edgekit.targets.coreml.formula import Formula
from edgekit.targets.coreml.graph import Tensor, constant


@rule("Pad", "mode pads value")
def pad(call: Call) -> Tensor:
    """Y = X with entries before and behind each axis: constant, reflect, edge or wrap."""
    mode = call.text("mode", "constant")
    pads = call.ints("pads", ()) if call.given("pads") else [int(item) for item in call.array(1)]
    axes = [int(axis) % call.x.rank for axis in call.array(3)] if call.has(3) else list(range(call.x.rank))
    count = len(axes)
    pairs = {axis: (pads[i], pads[i + count]) for i, axis in enumerate(axes)}
    x = _cropped(call, {axis: pair for axis, pair in pairs.items() if min(pair) < 0})
    pairs = {axis: (max(a, 0), max(b, 0)) for axis, (a, b) in pairs.items() if max(a, b) > 0}
    if not pairs:
        return x if x is not call.x else call.emit("identity", x=x)
    if mode == "constant":
        return _padded(call, x, pairs, mode="constant", value=_pad_value(call))
    call.require(mode in ("reflect", "edge", "wrap"), f"mode '{mode}' is no mode of Pad")
    return _repeated(call, x, pairs, mode=mode)


def _pad_value(call: Call) -> float:
    if call.given("value"):
        return call.number("value", 0.0)
    value = call.optional_array(2)
    return 0.0 if value is None or not value.size else float(value.reshape(-1)[0])


def _cropped(call: Call, pairs: dict[int, tuple[int, int]]) -> Tensor:
    """Negative pads cut entries off."""
    x = call.x
    for axis, (before, after) in pairs.items():
        x = call.slice(x, axis, max(-before, 0), x.sizes[axis] + min(after, 0))
    return x


def _padded(call: Call, x: Tensor, pairs: dict[int, tuple[int, int]], *, mode: str, value: float) -> Tensor:
    amounts = [item for axis in range(x.rank) for item in pairs.get(axis, (0, 0))]
    size = tuple(
        dim + sum(pairs.get(axis, (0, 0)))
        if isinstance(dim, int)
        else (dim if axis not in pairs else f"{dim}+")
        for axis, dim in enumerate(x.shape)
    )
    if x.dtype != "bool":
        call.require(x.dtype != "int32", "Core ML pads no int32")
        return call.add("pad", size, x=x, pad=amounts, mode=mode, constant_val=value)
    # Only by a constant: `_repeated` gathers what is no float32.
    made = call.add("pad", size, x=call.cast(x, "float32"), pad=amounts, mode=mode, constant_val=value)
    return Formula(call).binary("not_equal", made, 0.0, "bool")


_MIRRORED = {"reflect": "reflect", "edge": "replicate"}


def _repeated(call: Call, x: Tensor, pairs: dict[int, tuple[int, int]], *, mode: str) -> Tensor:
    """MIL's own pad on the last two axes, else one gather an axis."""
    fits = mode in _MIRRORED and all(
        axis >= x.rank - 2 and max(pair) < x.fixed(axis) for axis, pair in pairs.items()
    )
    if fits and x.dtype == "float32" and x.rank <= 4:
        return _padded(call, x, pairs, mode=_MIRRORED[mode], value=0.0)
    for axis, pair in pairs.items():
        size = x.fixed(axis)
        if mode == "edge":
            places = np.pad(np.arange(size), pair, "edge")
        else:
            places = np.pad(np.arange(size), pair, "wrap" if mode == "wrap" else "reflect")
        shape = tuple(len(places) if i == axis else dim for i, dim in enumerate(x.shape))
        x = call.add("gather", shape, x=x, indices=constant(places.astype(np.int32)), axis=axis)
    return x

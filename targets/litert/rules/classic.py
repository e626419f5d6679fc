"""Ops of the ai.onnx.ml domain that are a formula, and small determinants."""

from __future__ import annotations

import numpy as np

from edgekit.targets.litert.call import Call, rule
from edgekit.targets.litert.formula import Formula
from edgekit.targets.litert.graph import Tensor, constant
from edgekit.targets.litert.rules.places import Places

_LARGEST = 4  # rows; by cofactors a determinant of n rows takes n! products


@rule("ai.onnx.ml.Binarizer", "threshold")
def binarizer(call: Call) -> Tensor:
    """Y = 1 where X > threshold, else 0."""
    x = call.x
    limit = call.scalar(call.number("threshold", 0.0), x)
    above = call.add("GREATER", [x, limit], x.shape, like=Tensor((), "bool"))
    return call.cast(above, call.out.dtype)


@rule("ai.onnx.ml.Scaler", "offset scale")
def scaler(call: Call) -> Tensor:
    """Y = (X - offset) scale, one of each for the last dim or one for all."""
    call.require(call.x.dtype == "float32", f"LiteRT computes it on no {call.x.dtype}", "cast to float32")
    offset, scale = (
        constant(np.asarray(call.attribute(name), np.float32).reshape(-1)) for name in ("offset", "scale")
    )
    f = Formula(call)
    return f.mul(f.sub(call.x, offset), scale)


@rule("ai.onnx.ml.ArrayFeatureExtractor")
def array_feature_extractor(call: Call) -> Tensor:
    """Y = X's entries of the last dim at the indices."""
    x, indices = call.x, Places(call).whole(call.operand(1))
    flat = call.reshape(indices, (indices.size,))
    made = call.add("GATHER", [x, flat], (*x.shape[:-1], flat.size), axis=x.rank - 1)
    return call.reshape(made, call.out.shape)


@rule("Det")
def det(call: Call) -> Tensor:
    """Y = the determinants of X [..., n, n], by cofactors."""
    rows, batch = call.x.shape[-1], int(np.prod(call.x.shape[:-2]))
    call.require(
        call.x.dtype == "float32" and 1 <= rows <= _LARGEST,
        f"a determinant of {rows} x {rows} {call.x.dtype} is beyond what edgekit writes out (float32, 4 x 4)",
    )
    x = call.reshape(call.x, (batch, rows, rows))
    entries = [[call.slice(x, (0, i, j), (batch, 1, 1)) for j in range(rows)] for i in range(rows)]
    return call.reshape(_expanded(Formula(call), entries), call.out.shape)


def _expanded(f: Formula, entries: list[list[Tensor]]) -> Tensor:
    """Along the first row."""
    if len(entries) == 1:
        return entries[0][0]
    total: Tensor | None = None
    for column, entry in enumerate(entries[0]):
        minor = [row[:column] + row[column + 1 :] for row in entries[1:]]
        term = f.mul(entry, _expanded(f, minor))
        total = term if total is None else f.sub(total, term) if column % 2 else f.add(total, term)
    assert total is not None
    return total

"""The whole table: op type -> formula."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.targets.coreml.interpret.ops import (
    activation,
    attention,
    boxes,
    conv,
    elementwise,
    image,
    indexing,
    normalization,
    pool,
    product,
    quantization,
    rearrange,
    recurrent,
    reduction,
    sparse,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

# float16 tensors arrive as float32, results are rounded to what the program declares.
COMPUTES: Mapping[str, Any] = {
    **elementwise.COMPUTES,
    **activation.COMPUTES,
    **attention.COMPUTES,
    **boxes.COMPUTES,
    **conv.COMPUTES,
    **normalization.COMPUTES,
    **reduction.COMPUTES,
    **image.COMPUTES,
    **indexing.COMPUTES,
    **pool.COMPUTES,
    **product.COMPUTES,
    **recurrent.COMPUTES,
}
# Tensors arrive and leave as they are stored.
MOVES: Mapping[str, Any] = {
    **elementwise.MOVES,
    **rearrange.MOVES,
    **image.MOVES,
    **indexing.MOVES,
    **quantization.MOVES,
    **sparse.MOVES,
}

"""Ops of this room's own that read integer weights beside float data; absorb_weights makes them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgekit.targets.litert.call import Call, rule
from edgekit.targets.litert.rules.gather import from_zero
from edgekit.targets.litert.rules.matmul import fully_connected

if TYPE_CHECKING:
    from edgekit.targets.litert.graph import Tensor


@rule("FullyConnected")
def fully_connected_rows(call: Call) -> Tensor:
    """Y = X W' + B; X [..., K], W [N, K] with a scale a row or blocks of it, B [N]."""
    return fully_connected(call, call.x, call.operand(1), call.optional(2))


@rule("EmbeddingLookup")
def embedding_lookup(call: Call) -> Tensor:
    """Y = W's rows at the indices, restored to float; W [V, D] with a scale a row or blocks of it."""
    table = call.operand(1)
    indices = from_zero(call, call.x, table.shape[0])
    flat = call.reshape(indices, (indices.size,))
    found = call.add("EMBEDDING_LOOKUP", [flat, table], (indices.size, table.shape[1]), like=call.out)
    assert math.prod(call.out.shape) == found.size
    return call.reshape(found, call.out.shape)

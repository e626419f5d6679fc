"""What a mix of precisions costs beyond int8 throughout: an order to try and to choose in, and no latency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit._cost import node_costs

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from edgekit._qdq import Mix

# 16 by 8 bits take two passes of an 8 by 8 bit multiplier; float moves four times the bytes.
_WIDE, _FLOAT = 1.0, 3.0


@dataclass(frozen=True)
class Prices:
    """Multiply-accumulates of each node; nodes without any cost a thousandth of the model's."""

    macs: Mapping[str, int]

    def of(self, mix: Mix) -> float:
        """In int8 multiply-accumulates."""
        wide = frozenset[str]() if mix.wide is None else mix.wide.nodes - mix.float_nodes
        least = sum(self.macs.values()) / 1000
        parts = ((_WIDE, wide), (_FLOAT, mix.float_nodes))
        return sum(factor * max(self.macs.get(name, 0), least) for factor, part in parts for name in part)


def price_nodes(model: ir.Model) -> Prices:
    """The prices of a float model's nodes."""
    return Prices({cost.name: cost.macs or 0 for cost in node_costs(model)})

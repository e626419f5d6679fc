"""HARD_SWISH in float -> ADD, MUL and clamps, for Vela refuses a file that holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.targets.litert.graph import Operator, Tensor, constant

if TYPE_CHECKING:
    from edgekit.targets.litert.graph import Graph


def write_out_hardswish(graph: Graph) -> list[str]:
    """Rewrite in place; a note where there was one. x * relu6(x + 3) / 6 as its definition says."""
    operators: list[Operator] = []
    found = 0
    for operator in graph.operators:
        source, (out,) = operator.inputs[0], operator.outputs[:1]
        if operator.code != "HARD_SWISH" or source is None or source.dtype != "float32":
            operators.append(operator)
            continue
        found += 1
        gate, scaled = Tensor(out.shape, "float32"), Tensor(out.shape, "float32")
        shift, sixth = (constant(np.array([value], np.float32)) for value in (3.0, 1 / 6))
        clamp = {"fusedActivationFunction": "RELU6"}
        operators += [
            Operator("ADD", (source, shift), (gate,), clamp),
            Operator("MUL", (gate, sixth), (scaled,)),
            Operator("MUL", (source, scaled), (out,)),
        ]
    graph.operators[:] = operators
    return [f"{found} float HARD_SWISH are written out, for Vela takes it in int8 only"] if found else []

"""The inner tensors of a runtime that gives none: a twin of the artifact whose codes are outputs too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgekit._qdq import QdqResult
    from edgekit._schemes import QuantParams
    from edgekit._values import Component
    from edgekit.target import Session

    Arrays = Mapping[str, np.ndarray]


def show_codes(quantized: QdqResult) -> tuple[Component, dict[str, str]]:
    """A copy that gives each quantized activation's integers as an output; tensor -> that output's name.

    Integers, because a float output in the middle would keep a runtime from fusing what stands around it.
    """
    model = quantized.component.model.clone()
    inputs = set(model.graph.inputs)
    codes: dict[str, str] = {}
    for node in model.graph:
        value = node.inputs[0] if node.op_type == "QuantizeLinear" else None
        if value is None or value in inputs or value.const_value is not None:
            continue
        made = node.outputs[0]
        restored = [user.outputs[0] for user, _ in made.uses() if user.op_type == "DequantizeLinear"]
        outward = next((one for one in restored if one.is_graph_output()), value)
        if outward.name in quantized.scales.tensors and not made.is_graph_output():
            codes[str(outward.name)] = str(made.name)
            model.graph.outputs.append(made)
    return replace(quantized.component, model=model), codes


@dataclass(frozen=True)
class TwinSession:
    """A session of such a twin: its taps are the integers restored by the record's scales."""

    session: Session
    codes: Mapping[str, str]
    scales: Mapping[str, QuantParams]

    def run(self, feeds: Arrays, taps: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """The artifact's own outputs, and each tap that the twin has."""
        found = self.session.run(feeds)
        names = set(self.codes.values())
        outputs = {name: array for name, array in found.items() if name not in names}
        shown = {name: found[self.codes[name]] for name in taps if self.codes.get(name) in found}
        return outputs | {name: _restore(codes, self.scales[name]) for name, codes in shown.items()}


def _restore(codes: np.ndarray, params: QuantParams) -> np.ndarray:
    steps = codes.astype(np.int32) - params.zero_point
    return np.asarray(steps * np.float32(params.scale), np.float32)


def give_same(one: Arrays, other: Arrays) -> bool:
    """Whether two runs give the same outputs, bit for bit."""
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)

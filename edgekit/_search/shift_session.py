"""One session of a float model in which any tensor can be moved from outside: what do the outputs do?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit._search.output_distance import measure_distance
from edgekit._verify import float_session
from edgekit.passes._rewire import Names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Arrays = Mapping[str, np.ndarray]

_SHIFT = "/shift"


class ShiftSession:
    """A float model with a number added to each of `tensors`, nothing as a rule; the model stays unchanged.

    One session serves every tensor: no model is built a layer.
    """

    def __init__(self, model: ir.Model, tensors: Sequence[str]) -> None:
        shifted, self._shifts = _shift_tensors(model, tensors)
        self._session = float_session(shifted)
        self._still: dict[str, np.ndarray] = {
            shift: np.zeros(1, np.float32) for shift in self._shifts.values()
        }

    def run(self, feeds: Arrays) -> dict[str, np.ndarray]:
        """The outputs with nothing moved."""
        return self._session.run({**feeds, **self._still})

    def distance(self, feeds: Arrays, quiet: Arrays, tensor: str, shift: np.ndarray) -> float:
        """How far the outputs go from `quiet` when `shift` is added to the tensor."""
        return measure_distance(
            self._session.run({**feeds, **self._still, self._shifts[tensor]: shift}), quiet
        )


def _shift_tensors(model: ir.Model, tensors: Sequence[str]) -> tuple[ir.Model, dict[str, str]]:
    """A clone with an input added to each tensor (one zero for "no change"); tensor -> that input's name."""
    shifted = model.clone()
    graph, names = shifted.graph, Names(shifted)
    values = {value.name: value for node in graph for value in node.outputs}
    shifts: dict[str, str] = {}
    for tensor in tensors:
        value = values[tensor]
        maker = value.producer()
        if maker is None:
            continue
        # No shape: the one zero and the whole error go in by the same door.
        shift = ir.val(names.free(f"{tensor}{_SHIFT}"), type=ir.TensorType(ir.DataType.FLOAT))
        graph.inputs.append(shift)
        add = ir.node("Add", [value, shift], name=names.free(f"{tensor}{_SHIFT}ed"))
        add.outputs[0].name = str(add.name)
        add.outputs[0].type, add.outputs[0].shape = value.type, value.shape
        for user, place in tuple(value.uses()):
            if user is not add:
                user.replace_input_with(place, add.outputs[0])
        graph.insert_after(maker, [add])
        graph.outputs[:] = [add.outputs[0] if output is value else output for output in graph.outputs]
        shifts[tensor] = str(shift.name)
    return shifted, shifts

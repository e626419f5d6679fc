"""What each layer's own rounding does to the model's outputs, in one float session.

The layer's error with exact inputs is added to its exact result, and the float model runs on from there:
no quantized model is built a layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit._cost import node_costs
from edgekit._layers import collect_layer, cut_layers
from edgekit._verify import float_session, reference_session, with_taps
from edgekit.passes._rewire import Names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Arrays = Mapping[str, np.ndarray]

_SHIFT = "/shift"


@dataclass(frozen=True)
class LayerCost:
    """One layer: the nodes behind a quantized tensor, their MACs, and what its rounding does.

    error: energy of the change at the model's float outputs, over the outputs' energy, worst output.
    """

    tensor: str
    nodes: frozenset[str]
    macs: int
    error: float


def measure_sensitivity(
    float_model: ir.Model, qdq_model: ir.Model, feeds: Sequence[Arrays]
) -> tuple[LayerCost, ...]:
    """Every layer in the graph's order; one run of the float model a layer and sample.

    Both models stay unchanged.
    """
    cut = cut_layers(qdq_model)
    made = {value.name for node in float_model.graph for value in node.outputs}
    tensors = [name for name in cut.inputs if name in made]
    exact, alone = float_session(with_taps(float_model, tensors)), reference_session(cut.model)
    shifted, shifts = _shift_tensors(float_model, tensors)
    session = float_session(shifted)
    energies = dict.fromkeys(tensors, 0.0)
    for sample in feeds:
        known = exact.run(sample)
        own = alone.run({**sample, **{cut.inputs[name]: known[name] for name in tensors}})
        still = {shifts[name]: np.zeros(1, known[name].dtype) for name in tensors}
        quiet = session.run({**sample, **still})
        for name in tensors:
            moved = session.run({**sample, **still, shifts[name]: own[cut.outputs[name]] - known[name]})
            energies[name] += _worst_change(moved, quiet) / len(feeds)
    macs = {cost.name: cost.macs or 0 for cost in node_costs(float_model)}
    borders = set(tensors)
    layers = {name: collect_layer(float_model, name, borders)[0] for name in tensors}
    return tuple(
        LayerCost(name, frozenset(layers[name]), sum(macs[node] for node in layers[name]), energies[name])
        for name in tensors
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


def _worst_change(moved: Arrays, quiet: Arrays) -> float:
    """Energy of the difference over the energy of the output, of the output that changes most."""
    changes = [
        float(np.sum((moved[name].astype(np.float64) - value) ** 2))
        / max(float(np.sum(value.astype(np.float64) ** 2)), 1e-30)
        for name, value in quiet.items()
        if value.dtype.kind == "f" and value.size
    ]
    return max(changes, default=0.0)

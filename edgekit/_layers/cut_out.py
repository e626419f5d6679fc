"""One layer as a model of its own: its nodes in fp32, and the exact inputs that it had."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit._verify import float_session, with_taps
from edgekit.passes.serialize_model import save_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Set
    from pathlib import Path


def cut_out(
    model: ir.Model, tensor: str, borders: Set[str], *, feeds: Mapping[str, np.ndarray], folder: Path
) -> tuple[Path, Path]:
    """Write `layer.onnx` (what makes `tensor` from the nearest of `borders`) and `inputs.npz` to `folder`.

    `model` stays unchanged; `feeds` is one sample of it.
    """
    nodes, cut = collect_layer(model, tensor, borders)
    names = sorted(str(value.name) for value in cut)
    inside = [name for name in names if name not in feeds]
    known = float_session(with_taps(model, inside)).run(feeds)
    arrays = {name: feeds[name] if name in feeds else known[name] for name in names}
    layer = _alone(model, tensor, nodes, arrays)
    save_model(layer, folder / "layer.onnx")
    np.savez(folder / "inputs.npz", allow_pickle=False, **arrays)
    return folder / "layer.onnx", folder / "inputs.npz"


def collect_layer(model: ir.Model, tensor: str, borders: Set[str]) -> tuple[set[str], set[ir.Value]]:
    """Names of the nodes behind `tensor`, and the values that they read from the other side of a border."""
    values = {value.name: value for node in model.graph for value in node.outputs}
    waiting, nodes, cut = [values[tensor]], set[str](), set[ir.Value]()
    while waiting:
        node = waiting.pop().producer()
        if node is None or node.name in nodes:
            continue
        nodes.add(str(node.name))
        for value in node.inputs:
            if value is None or value.is_initializer() or value.const_value is not None:
                continue
            if value.producer() is None or value.name in borders:
                cut.add(value)
            else:
                waiting.append(value)
    return nodes, cut


def _alone(model: ir.Model, tensor: str, nodes: set[str], arrays: Mapping[str, np.ndarray]) -> ir.Model:
    """A clone with those nodes only."""
    alone = model.clone()
    graph = alone.graph
    values = {value.name: value for node in graph for value in node.outputs}
    values |= {value.name: value for value in graph.inputs}
    graph.outputs[:] = [values[tensor]]
    fresh = []
    for name, array in arrays.items():
        value = ir.val(f"{name}", dtype=ir.DataType.from_numpy(array.dtype), shape=ir.Shape(array.shape))
        old = values[name]
        for user, place in tuple(old.uses()):
            if user.name in nodes:
                user.replace_input_with(place, value)
        fresh.append(value)
    graph.remove([node for node in graph if node.name not in nodes], safe=False)
    graph.inputs[:] = fresh
    used = {value.name for node in graph for value in node.inputs if value is not None}
    for name in [name for name in graph.initializers if name not in used]:
        del graph.initializers[name]
    return alone

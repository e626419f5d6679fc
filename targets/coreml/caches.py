"""A decoder's cache of keys and values in states: each step reads it and writes its own place.

The form is that of edgekit's own export (docs/sources.md): `past_<x>` goes in with all places, `new_<x>`
comes out with the one of this token, and an integer input tells how many places are used. `new_<x>` stays
an output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import UsageError
from edgekit.passes._rewire import static_shape
from edgekit.targets.coreml.graph import Operator, Tensor, constant
from edgekit.targets.coreml.states import DTYPE, FLOATS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from edgekit._values import Component
    from edgekit.targets.coreml.graph import Graph
    from edgekit.targets.coreml.options import Options

_PAST, _NEW = "past_", "new_"
_OWN_EXPORT = "export the decoder with edgekit, with a cache of fixed size (--shape past=512)"


def find_caches(component: Component, options: Options) -> dict[str, str]:
    """Input with the past -> output with what is new; a prefill, which reads no past, has none.

    UsageError where option cache fits nothing in the model.
    """
    if not options.cache:
        return {}
    graph = component.model.graph
    inputs, outputs = (
        {value.name or "": value for value in values} for values in (graph.inputs, graph.outputs)
    )
    news = [name for name in outputs if name.startswith(_NEW)]
    place = inputs.get(options.cache)
    pairs = {f"{_PAST}{name.removeprefix(_NEW)}": name for name in news}
    if news and place is None and not pairs.keys() & inputs.keys():
        return {}
    if place is None or not news or not pairs.keys() <= inputs.keys():
        raise UsageError(
            f"option cache={options.cache}: the model has no such input beside inputs {_PAST}... and "
            f"outputs {_NEW}... of the same names",
            fix=_OWN_EXPORT,
        )
    if place.dtype is None or not place.dtype.is_integer() or static_shape(place) not in ((), (1,)):
        raise UsageError(f"option cache: '{options.cache}' is not one integer", fix=_OWN_EXPORT)
    for name, new in pairs.items():
        _axis_of(inputs[name], outputs[new])
    return {name: new for name, new in pairs.items() if name not in options.states}


def _axis_of(past: ir.Value, new: ir.Value) -> int:
    """The axis along which `past` has all places and `new` has one."""
    sizes, one = static_shape(past), static_shape(new)
    floats = all(value.dtype is not None and value.dtype.name in FLOATS for value in (past, new))
    if sizes is None or one is None or len(sizes) != len(one) or not floats:
        axes = []
    else:
        axes = [axis for axis, (a, b) in enumerate(zip(sizes, one, strict=True)) if a != b]
    if len(axes) != 1 or one is None or one[axes[0]] != 1:
        raise UsageError(
            f"option cache: '{past.name}' {past.shape} is no cache of which '{new.name}' {new.shape} is "
            "one place",
            fix=_OWN_EXPORT,
        )
    return axes[0]


def hold_caches(graph: Graph, caches: Mapping[str, str], place: str) -> None:
    """Inputs named in `caches` become states, read at the beginning; their new place is written to them."""
    if not caches:
        return
    index = next(tensor for tensor in graph.inputs if tensor.name == place)
    starts = list[Operator]()
    for name, result in caches.items():
        old = next(tensor for tensor in graph.inputs if tensor.name == name)
        new = next(tensor for tensor in graph.outputs if tensor.name == result)
        state, held = Tensor(old.shape, DTYPE, name=name), Tensor(old.shape, DTYPE)
        graph.inputs.remove(old)
        graph.states.append(state)
        old.name = ""
        starts.append(Operator("read_state", {"input": state}, (held,)))
        starts.append(Operator("cast", {"x": held, "dtype": "fp32"}, (old,)))
        _write(graph, held, new, index, state)
    graph.operators[:0] = starts


def _write(graph: Graph, held: Tensor, new: Tensor, index: Tensor, state: Tensor) -> None:
    """state = held, with `new` at the place `index` of the axis along which it has one."""
    axis = next(axis for axis, (a, b) in enumerate(zip(held.shape, new.shape, strict=True)) if a != b)
    begin, end = Tensor((new.rank,), "int32"), Tensor((new.rank,), "int32")
    rounded, written = Tensor(new.shape, DTYPE), Tensor(held.shape, DTYPE)
    zeros = [constant(np.zeros(count, np.int32)) for count in (axis, new.rank - axis - 1)]
    parts = [part for part in (zeros[0], index, zeros[1]) if part.size]
    graph.add("concat", {"values": parts, "axis": 0, "interleave": False}, [begin])
    graph.add("add", {"x": begin, "y": constant(np.array(new.sizes, np.int32))}, [end])
    graph.add("cast", {"x": new, "dtype": "fp16"}, [rounded])
    graph.add("slice_update", {"x": held, "update": rounded, "begin": begin, "end": end}, [written])
    graph.add("coreml_update_state", {"state": state, "value": written}, [Tensor(held.shape, DTYPE)])

"""Names in an OpenVINO model that follow from the model alone, so that the same input gives the same IR."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from edgekit.errors import ModelError

if TYPE_CHECKING:
    import onnx_ir as ir

# OpenVINO names what it makes itself by its type and a counter of the process.
_COUNTED = re.compile(r"[A-Za-z]+_\d+(/.*)?")


def settle_names(model: Any, source: ir.Model) -> None:
    """Number the nodes that OpenVINO named by its process-wide counter by their place in the graph instead.

    `model`: an openvino.Model of `source`; what is named after the source's nodes and values keeps its name,
    and parameters and results get the names of the source's inputs and outputs.
    """
    known = {node.name or "" for node in source.graph.all_nodes()} | set(source.graph.initializers)
    known |= {value.name or "" for node in source.graph.all_nodes() for value in node.outputs}
    for place, node in enumerate(model.get_ordered_ops()):
        name = node.get_friendly_name()
        if _COUNTED.fullmatch(name) and name.partition("/")[0] not in known:
            node.set_friendly_name(f"{node.get_type_name()}.{place}")
    _name_parameters(model, source)
    for value, result in zip(source.graph.outputs, model.get_results(), strict=True):
        result.set_friendly_name(f"{value.name}/result")
        result.input_value(0).get_tensor().add_names({value.name})


def _name_parameters(model: Any, source: ir.Model) -> None:
    """An input that nothing reads is gone; one that is handed on as an output has lost its name to it."""
    inputs = [value.name or "" for value in source.graph.inputs]
    named = {
        parameter: next(iter(parameter.output(0).get_tensor().get_names() & set(inputs)), "")
        for parameter in model.get_parameters()
    }
    lost = [parameter for parameter, name in named.items() if not name]
    left = [name for name in inputs if name not in named.values()]
    if lost and len(lost) != len(left):
        raise ModelError(
            f"OpenVINO hands inputs on as outputs, and which of {', '.join(left)} they are is unknown",
            fix="drop the inputs that nothing reads",
        )
    for parameter, name in (named | dict(zip(lost, left, strict=False))).items():
        parameter.set_friendly_name(name)

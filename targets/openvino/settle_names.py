"""Names in an OpenVINO model that follow from the model alone, so that the same input gives the same IR."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx_ir as ir

# OpenVINO names what it makes itself by its type and a counter of the process.
_COUNTED = re.compile(r"[A-Za-z]+_\d+(/.*)?")


def settle_names(model: Any, source: ir.Model) -> None:
    """Number the nodes that OpenVINO named by its process-wide counter by their place in the graph instead.

    `model`: an openvino.Model of `source`; what is named after the source's nodes and values keeps its name,
    and results get the names of the source's outputs.
    """
    known = {node.name or "" for node in source.graph.all_nodes()} | set(source.graph.initializers)
    known |= {value.name or "" for node in source.graph.all_nodes() for value in node.outputs}
    for place, node in enumerate(model.get_ordered_ops()):
        name = node.get_friendly_name()
        if _COUNTED.fullmatch(name) and name.partition("/")[0] not in known:
            node.set_friendly_name(f"{node.get_type_name()}.{place}")
    for value, result in zip(source.graph.outputs, model.get_results(), strict=True):
        result.set_friendly_name(f"{value.name}/result")
        result.input_value(0).get_tensor().add_names({value.name})

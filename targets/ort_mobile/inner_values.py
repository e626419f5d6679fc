"""A second .ort file of a variant that gives inner values as outputs: a .ort file's graph is final."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._values import Artifact

ENDING = ".inner.ort"


def find_inner_file(artifact: Artifact) -> str | None:
    """The file that gives an artifact's inner values, where it has one."""
    return next((name for name in artifact.files if name.endswith(ENDING)), None)


def give_inner(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A clone with these tensors as outputs too, each as it is once it is rounded, where it is.

    model: a variant's graph, with Q/DQ for int8. A rounded tensor is read through a DequantizeLinear of its
    own, so that the operators around it still run as integers. ModelError for one that is not there.
    """
    tapped = model.clone()
    values = {value.name: value for node in tapped.graph for value in node.outputs}
    given = {value.name for value in tapped.graph.outputs}
    for name in names:
        if name not in values:
            raise ModelError(
                f"--sketch '{name}' is not in the graph that onnxruntime is given",
                fix="name the tensor behind it, or leave that precision out",
            )
        if name not in given:
            tapped.graph.outputs.append(_as_rounded(tapped.graph, values[name]))
    return tapped


def _as_rounded(graph: ir.Graph, value: ir.Value) -> ir.Value:
    quantizers = [use.node for use in value.uses() if use.node.op_type == "QuantizeLinear"]
    if not quantizers:
        return value
    node = ir.node(
        "DequantizeLinear",
        [quantizers[0].outputs[0], *quantizers[0].inputs[1:]],
        attributes={one.name: one for one in quantizers[0].attributes.values() if one.name == "axis"},
    )
    graph.insert_after(quantizers[0], node)
    (given,) = node.outputs
    given.type, given.shape = value.type, value.shape
    # Outputs are asked for by name, so the rounded tensor takes the exact one's.
    given.name, value.name = value.name, f"{value.name}/exact"
    return given

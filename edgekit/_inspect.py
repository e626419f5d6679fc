"""What a model is: io, opset, ops, parameters, multiply-accumulates and memory, node by node."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._values import DimRange
from edgekit.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit._values import Component, ShapeSpec, TensorInfo

ANY_SIZE = DimRange(1, 2**31 - 1)


@dataclass(frozen=True)
class NodeReport:
    """One node; `macs` and `activation_bytes` are None while a dim they need is unknown."""

    name: str
    op: str
    macs: int | None
    params: int
    weight_bytes: int
    activation_bytes: int | None


@dataclass(frozen=True)
class ModelReport:
    """A model as edgekit reads it. `macs` and `peak_activation_bytes` are None when a dim is unknown.

    `file_bytes` counts the ONNX file alone, `weight_bytes` all weights (external data too).
    `ops` are the source's node counts; `nodes` are those left after edgekit's passes.
    """

    path: Path
    digest: str
    file_bytes: int
    ir_version: int
    producer: str
    opsets: Mapping[str, int]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    ops: Mapping[str, int]
    parameters: int
    weight_bytes: int
    macs: int | None
    peak_activation_bytes: int | None
    nodes: tuple[NodeReport, ...]
    notes: tuple[str, ...]
    component: str = "model"


def inspect_source(path: Path, shapes: ShapeSpec) -> tuple[ModelReport, ...]:
    """Read each component of a source and count it; raises what `load_components` raises.

    Weights stay on disk.
    """
    from edgekit._scope_recipe import scope_shapes
    from edgekit.sources.components import load_components

    components = load_components(path, {})
    own = scope_shapes(shapes, components)
    return tuple(_inspect(component, own[component.name]) for component in components)


def _inspect(component: Component, shapes: ShapeSpec) -> ModelReport:
    from edgekit._cost import node_costs, peak_activation_bytes
    from edgekit.sources.graph_io import inputs_of, outputs_of

    source, path = component.model, component.source or Path()
    prepared, notes = prepare_open(component, shapes)
    nodes = tuple(
        NodeReport(cost.name, cost.op, cost.macs, cost.params, cost.weight_bytes, cost.activation_bytes)
        for cost in node_costs(prepared.model)
    )
    macs = _total([node.macs for node in nodes])
    if macs is None:
        unknown = sum(node.macs is None for node in nodes)
        notes.append(
            f"MACs of {unknown} nodes are unknown: give the open sizes{open_words(inputs_of(source))}"
        )
    return ModelReport(
        path=path,
        digest=component.digest,
        file_bytes=path.stat().st_size,
        ir_version=source.ir_version,
        producer=f"{source.producer_name or 'unknown'} {source.producer_version or ''}".strip(),
        opsets={domain or "ai.onnx": version for domain, version in source.opset_imports.items()},
        inputs=inputs_of(source),
        outputs=outputs_of(source),
        ops=dict(Counter(node.op_type for node in source.graph.all_nodes()).most_common()),
        parameters=sum(node.params for node in nodes),
        weight_bytes=sum(node.weight_bytes for node in nodes),
        macs=macs,
        peak_activation_bytes=peak_activation_bytes(prepared.model),
        nodes=nodes,
        notes=tuple(notes),
        component=component.name,
    )


def prepare_open(component: Component, shapes: ShapeSpec) -> tuple[Component, list[str]]:
    """The prepared component with the dims nobody gave left open, or the source as it is and why."""
    from edgekit.passes.infer_shapes import infer_shapes
    from edgekit.passes.prepare_component import prepare_component
    from edgekit.sources.graph_io import inputs_of

    open_dims = {info.name: _open_shape(info) for info in inputs_of(component.model)}
    try:
        return prepare_component(component, shapes={**open_dims, **shapes}), []
    except ModelError as error:
        if shapes:
            raise  # most likely about a shape the user gave
        model = component.model.clone()
        infer_shapes(model)
        return replace(component, model=model), [f"counted as it is; converting would be refused: {error}"]


def _open_shape(info: TensorInfo) -> tuple[DimRange, ...]:
    """The input's own sizes; a dim it leaves open stays open."""
    return tuple(DimRange(dim, dim) if isinstance(dim, int) else ANY_SIZE for dim in info.shape)


def open_words(inputs: tuple[TensorInfo, ...]) -> str:
    """The --shape options that are missing, with a question mark for each open size."""
    missing = [info for info in inputs if not all(isinstance(dim, int) for dim in info.shape)]
    words = [
        f"--shape {info.name}={','.join(str(dim) if isinstance(dim, int) else '?' for dim in info.shape)}"
        for info in missing
    ]
    return f" ({' '.join(words)})" if words else ""


def _total(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None

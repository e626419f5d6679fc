"""Exports a module without weights: of many alike layers torch sees a few, and the rest are copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgekit.errors import ModelError
from edgekit.sources.export_torch import export_torch
from edgekit.sources.extend_layers import extend
from edgekit.sources.shape_only import forget_values, hollow_number
from edgekit.sources.stamp_layers import stamp_layers
from edgekit.sources.trace_program import trace_program

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

    from edgekit.sources.repeated_layers import RepeatedLayers
    from edgekit.sources.torch_component import TorchComponent


def export_hollow(component: TorchComponent, label: str) -> ir.Model:
    """The graph that `export_torch` makes of a component, its weights as shapes alone.

    Copied layers change names of nodes and of values inside, and nothing else: torch's own trace of the whole
    module says that its layers are alike, and what can't be copied is exported whole. ModelError as there.
    """
    made = _export_short(component, label)
    if made is None:
        made = export_torch(component, label, shape_only=True)
        forget_values(made)
    return made


def _export_short(component: TorchComponent, label: str) -> ir.Model | None:
    """None where there are no layers to copy, or they are not alike."""
    layers = component.layers
    if layers is None or layers.count <= layers.fewest:
        return None
    names = _number_parameters(component.module)
    if names is None:
        return None
    short = layers.shorten(layers.fewest)
    if not _runs_alike(short, component, layers):
        return None
    try:
        model = export_torch(short, label, shape_only=True)
    except ModelError:
        return None  # the whole module's own error is the one to tell
    forget_values(model)
    if not stamp_layers(model.graph, layers, names, list(component.flat_inputs()), component.outputs):
        return None
    RemoveUnusedNodesPass()(model)
    return model


def _runs_alike(short: TorchComponent, whole: TorchComponent, layers: RepeatedLayers) -> bool:
    """Whether torch runs, of the whole module, what follows from the first layers, operator by operator."""
    try:
        foretold = extend(trace_program(short, layers), layers.count)
        return foretold is not None and foretold == trace_program(whole, layers)
    except Exception:  # noqa: BLE001  # a module may raise anything, and the whole export tells it
        return False


def _number_parameters(module: torch.nn.Module) -> dict[int, str] | None:
    """Names by the numbers of weightless.py; None where weights can't be told apart by them."""
    numbers = {name: hollow_number(one.detach().numpy()) for name, one in module.named_parameters()}
    names = {number: name for name, number in numbers.items() if number is not None}
    return names if len(names) == len(numbers) else None

"""Exports a PyTorch component to ONNX with torch.export, and names its inputs, outputs and open dims."""

from __future__ import annotations

import logging
import re
import warnings
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from edgekit.errors import ModelError
from edgekit.sources.explain_export import explain_export, explain_run, explain_shapes

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from edgekit.sources.torch_component import DynamicDim, TorchComponent

# What torch writes best; passes raise or lower it as a target needs.
OPSET = 18


def export_torch(component: TorchComponent, label: str, *, shape_only: bool = False) -> ir.Model:
    """The component as an ONNX model at opset OPSET; its weights are still the module's own memory.

    ModelError, naming the module and the source line, for code that raises or can't be exported.
    """
    import torch

    module = component.module
    if component.program is None:
        module.eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            outputs = _run(component, shape_only=shape_only)
        except Exception as error:
            explain = explain_shapes if shape_only else explain_run
            raise explain(error, module, label) from error
        count = _count_outputs(outputs, label)
        names = _output_names(component, count, label)
        program = component.program
        try:
            program = program or _capture(component)
            model = _convert(program, component, names)
        except Exception as error:
            graph = None if program is None else program.graph
            raise explain_export(error, module, label, graph) from error
    _name_dims(model, component.flat_dims())
    _forget_origins(model)
    return model


def _run(component: TorchComponent, *, shape_only: bool) -> object:
    if not shape_only:
        return component.module(**component.inputs)
    from edgekit.sources.weightless import run_fake

    return run_fake(component.module, dict(component.inputs))


def _count_outputs(outputs: object, label: str) -> int:
    """How many tensors come out, lists spelled out; ModelError for anything else among them."""
    import torch
    from torch.utils import _pytree as pytree

    leaves = pytree.tree_leaves(outputs)
    odd = [one for one in leaves if one is not None and not isinstance(one, torch.Tensor)]
    if odd or not leaves:
        kind = type(odd[0]).__name__ if odd else "nothing"
        raise ModelError(
            f"{label} returns {kind} beside or in place of tensors", fix="return tensors, or lists of them"
        )
    return sum(one is not None for one in leaves)


def _output_names(component: TorchComponent, count: int, label: str) -> list[str]:
    names = list(component.outputs)
    if not names:
        names = ["output"] if count == 1 else [f"output_{index}" for index in range(count)]
    if len(names) != count or len({*names, *component.flat_inputs()}) < count + len(component.flat_inputs()):
        raise ModelError(
            f"{label} returns {count} tensors, and {len(names)} output names are given, or one is an input's",
            fix="give each output a name of its own, lists spelled out",
        )
    return names


def _capture(component: TorchComponent) -> torch.export.ExportedProgram:
    """The module's operations as torch.export sees them."""
    import torch

    return torch.export.export(
        component.module,
        (),
        dict(component.inputs),
        dynamic_shapes=_dynamic_shapes(component),
        strict=False,
        # torch can't always prove that a stride holds at every size, and two lengths are run afterwards.
        prefer_deferred_runtime_asserts_over_guards=True,
    )


def _convert(
    program: torch.export.ExportedProgram, component: TorchComponent, outputs: list[str]
) -> ir.Model:
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of torchvision, which is not needed
    made = torch.onnx.export(
        program,
        (),
        kwargs=dict(component.inputs),
        dynamo=True,
        opset_version=OPSET,
        input_names=list(component.flat_inputs()),
        output_names=outputs,
        verbose=False,
        optimize=False,
    )
    if made is None:
        raise RuntimeError("torch.onnx gave no model")
    _tidy(made.model)
    return made.model


def _tidy(model: ir.Model) -> None:
    """Functions inlined, constants folded and lifted; the rest passes do later."""
    from onnx_ir.passes import common
    from onnxscript import optimizer

    common.InlinePass()(model)
    optimizer.fold_constants(model)
    passes = (
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.LiftSubgraphInitializersToMainGraphPass(),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )
    for one in passes:
        one(model)


def _dynamic_shapes(component: TorchComponent) -> dict[str, Any]:
    """What torch.export takes: for each argument its open dims, in a list for a list."""
    import torch

    dims: dict[str, Any] = {}
    shapes: dict[str, Any] = {}
    for argument, value in component.inputs.items():
        given = component.dynamic.get(argument, {})
        for dim in given.values():
            if dim.name not in dims:
                dims[dim.name] = torch.export.Dim(dim.name, min=dim.low, max=dim.high)
        shape = {axis: dims[dim.name] for axis, dim in given.items()} or None
        shapes[argument] = [shape] * len(value) if isinstance(value, (list, tuple)) else shape
    return shapes


def _name_dims(model: ir.Model, dims: Mapping[str, Mapping[int, DynamicDim]]) -> None:
    """The user's names for the dims of inputs, and the same names in those of the outputs (`past + 1`)."""
    symbols: dict[str, str] = {}
    for value in model.graph.inputs:
        shape = list(value.shape or ())
        for axis, dim in dims.get(value.name or "", {}).items():
            old = shape[axis]
            if isinstance(old, ir.SymbolicDim) and old.value is not None:
                symbols[old.value] = dim.name
            shape[axis] = ir.SymbolicDim(dim.name)
        value.shape = ir.Shape(shape)
    if not symbols:
        return
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, symbols))})\b")
    for value in model.graph.outputs:
        if value.shape is not None:
            value.shape = ir.Shape(
                dim if isinstance(dim, int) else _renamed(dim, pattern, symbols) for dim in value.shape
            )


def _renamed(dim: ir.SymbolicDim, pattern: re.Pattern[str], symbols: Mapping[str, str]) -> ir.SymbolicDim:
    if dim.value is None:
        return dim
    return ir.SymbolicDim(pattern.sub(lambda match: symbols[match[1]], dim.value))


def _forget_origins(model: ir.Model) -> None:
    """Source lines and folders of this host, which would make the file differ from machine to machine."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.doc_string = None
    for graph in model.graphs():
        graph.doc_string = None
        for node in graph:
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()
        for value in (*graph.inputs, *graph.initializers.values()):
            value.metadata_props.clear()

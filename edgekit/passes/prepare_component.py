"""The standard passes in their order: what every target, calibration and the cost model start from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from onnx_ir.passes.common import RemoveInitializersFromInputsPass

from edgekit.passes._rewire import graphs_of
from edgekit.passes.drop_identities import drop_identities
from edgekit.passes.fix_shapes import fix_shapes
from edgekit.passes.fold_constants import fold_constants, fold_inferred
from edgekit.passes.fold_empty import fold_empty
from edgekit.passes.fuse_affine import fuse_affine
from edgekit.passes.fuse_batchnorm import fuse_batchnorm
from edgekit.passes.infer_shapes import has_sound_branches, infer_shapes
from edgekit.passes.inline_functions import inline_functions
from edgekit.passes.lift_constants import lift_constants
from edgekit.passes.name_nodes import name_nodes
from edgekit.passes.push_affine import push_affine
from edgekit.passes.raise_opset import raise_opset
from edgekit.passes.remove_unused import remove_unused
from edgekit.passes.settle_parameters import settle_parameters

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgekit._values import Component, ShapeSpec
    from edgekit.passes.fold_constants import Branches

LOWEST_IR_VERSION = 8


def prepare_component(component: Component, *, shapes: ShapeSpec) -> Component:
    """A copy of the component, ready for targets; the one given stays as it is and shares its weights.

    Afterwards: opset 17 or what it was if higher, IR version 8 or higher, no functions, weights are
    initializers and no inputs, node names are unique, the order is topological, and values have dtype and
    shape as far as ONNX's inference knows them. Raises ModelError as the passes do.
    """
    model = _prepare(component.model.clone(), shapes, "fold")
    if not has_sound_branches(model):
        # Folded shapes show that some branch cannot run at them. Runtimes refuse what they can see to be
        # wrong, taken or not; as the model came, they could not see it.
        model = _prepare(component.model.clone(), shapes, "keep")
    return replace(component, model=model)


def _prepare(model: ir.Model, shapes: ShapeSpec, branches: Branches) -> ir.Model:
    inline_functions(model)
    RemoveInitializersFromInputsPass()(model)
    fix_shapes(model, shapes)
    lift_constants(model)
    # Before raising too: some old forms can be told apart only by their constants.
    fold_constants(model, branches)
    given = model.opset_imports.get("")
    changed = fold_empty(model) + raise_opset(model)
    if changed or model.opset_imports.get("") != given:
        fold_constants(model, branches)
    if settle_parameters(model):
        infer_shapes(model)
    if _simplify(model, branches):
        infer_shapes(model)
    for graph in graphs_of(model):
        graph.sort()
    name_nodes(model)
    model.ir_version = max(model.ir_version, LOWEST_IR_VERSION)
    return model


def _simplify(model: ir.Model, branches: Branches) -> int:
    """Fuse and drop until nothing changes: a dropped node may bring two others together. How much did."""
    total = 0
    while changed := fuse_batchnorm(model) + fuse_affine(model) + push_affine(model) + drop_identities(model):
        remove_unused(model)
        total += changed
    return total + fold_inferred(model, branches)

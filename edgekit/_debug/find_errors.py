"""Runs the layers exact, quantized and as each target computes them, and blames one of the three."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._debug.twin_session import TwinSession, give_same, show_codes
from edgekit._layer_errors import DebugResult, LayerError
from edgekit._layers import cut_layers
from edgekit._open_workshops import open_workshops
from edgekit._plan import load_source, resolve_all
from edgekit._qdq import ALL
from edgekit._search import measure_sensitivity
from edgekit._target_work import TargetWork
from edgekit._verify import OutputComparison, float_session, reference_session, with_taps
from edgekit.errors import CannotRunHere, EdgekitError, UsageError
from edgekit.passes.lower_opset import lower_component

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Set

    import numpy as np
    import onnx_ir as ir

    from edgekit._cache import Cache
    from edgekit._layer_errors import Blame
    from edgekit._layers import LayerModel
    from edgekit._recipe import Recipe
    from edgekit._results import OutputParity
    from edgekit._search import LayerCost
    from edgekit._values import Progress
    from edgekit._verify import Golden
    from edgekit._workshop import Workshop
    from edgekit.registry import ResolvedTarget
    from edgekit.target import Session

    Arrays = Mapping[str, np.ndarray]

# Roundings of the same size fall differently in integer kernels, and nothing else may: an artifact that is
# farther from fp32 than its Q/DQ graph by more than this computes something else.
_FARTHER_DB = 3.0
# A layer this far from fp32 by itself is worth a look.
_GOOD_DB = 25.0
# So is one whose own error moves the outputs by that: in nats, about the odds of one decision in ten.
_DEAR = 0.05


def debug_recipe(recipe: Recipe, cache: Cache, progress: Progress) -> tuple[DebugResult, ...]:
    """One result a target and component. UsageError without samples; what `convert` raises besides."""
    if recipe.samples is None:
        raise UsageError("an error by layer needs samples", fix="add --samples DATA, a few are enough")
    targets = resolve_all(recipe)
    # A file of inner values gives the sketched tensors alone, and a session with some is asked for no twin.
    words = replace(recipe, precisions=("int8",), sketch=())
    workshops = open_workshops(load_source(recipe), targets, recipe=words, cache=cache, progress=progress)
    return tuple(_debug_target(item, shop, progress) for item in targets for shop in workshops)


def _debug_target(item: ResolvedTarget, workshop: Workshop, progress: Progress) -> DebugResult:
    work = TargetWork(item, workshop)
    quantized = work.quantized()
    golden = work.golden()
    float_model, qdq = workshop.equalized.model, quantized.component.model
    cut = cut_layers(qdq)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        session, note = _open_artifact(work, golden.samples[0].feeds, Path(folder), progress)
        progress(f"{item.device.name}: compare layer by layer", 0, None)
        seen = _Seen(cut, float_model, qdq)
        for sample in golden.samples:
            seen.add(sample.feeds, session)
    progress(f"{item.device.name}: what each layer does to the outputs", 0, None)
    feeds = [sample.feeds for sample in golden.samples]
    costs = {layer.tensor: layer for layer in measure_sensitivity(float_model, quantized, feeds)}
    return DebugResult(
        device=item.device.name,
        component=workshop.component.name,
        scheme=quantized.scales.scheme,
        layers=tuple(seen.layers(quantized.narrowed, costs)),
        outputs=_compare_outputs(golden),
        samples=len(golden.samples),
        note=note or ("" if seen.tapped else "the runtime gives no tensor inside the artifact"),
        float_model=float_model,
        qdq_model=qdq,
        feeds=tuple(sample.feeds for sample in golden.samples),
    )


def _open_artifact(
    work: TargetWork, feeds: Arrays, folder: Path, progress: Progress
) -> tuple[Session | None, str]:
    """The built INT8 artifact's session, with its inner tensors where it gives them, or None; and a note."""
    if ALL in work.workshop.recipe.only_ops:
        return None, "none is built: every op is in int8 to see which one cannot bear it"
    progress(f"{work.item.device.name}: build int8", 0, None)
    (artifact, *_) = work.build(work.job("int8"), {"int8": work.component("int8")}, folder)
    try:
        session = work.item.target.open(artifact, folder)
    except CannotRunHere as reason:
        return None, str(reason)
    tensors = list(work.quantized().scales.tensors)
    if session.run(feeds, taps=tensors).keys() - session.run(feeds).keys():
        return session, ""
    return _open_twin(work, session, feeds, folder)


def _open_twin(work: TargetWork, session: Session, feeds: Arrays, folder: Path) -> tuple[Session, str]:
    """A twin of the artifact that shows its tensors; the artifact's own session where it computes others."""
    component, codes = show_codes(work.quantized())
    lowered = lower_component(component, work.plan.max_opset)
    place = folder / "twin"
    place.mkdir()
    try:
        (artifact, *_) = work.build(work.job("int8"), {"int8": lowered}, place)
        twin = TwinSession(work.item.target.open(artifact, place), codes, work.quantized().scales.tensors)
        same = give_same(twin.run(feeds), session.run(feeds))
    except EdgekitError as reason:
        return session, f"the runtime gives no tensor inside the artifact, nor does a twin ({reason.problem})"
    if not same:
        return session, "a twin that shows its tensors computes other outputs, so none are shown"
    return (
        twin,
        "its tensors are those of a twin file that gives them as outputs; the final outputs are equal",
    )


class _Seen:
    """Comparisons of every cut tensor over the samples."""

    def __init__(self, cut: LayerModel, float_model: ir.Model, qdq: ir.Model) -> None:
        self.cut = cut
        self.tensors = list(cut.inputs)
        self.makers = _makers(float_model)
        exact = [name for name in self.tensors if name in self.makers]
        self.exact = float_session(with_taps(float_model, exact))
        self.layered = reference_session(cut.model)
        self.restored = _restored_names(qdq)
        self.accumulated = reference_session(with_taps(qdq, self.restored.values()))
        self.own = {name: OutputComparison(name) for name in exact}
        self.whole = {name: OutputComparison(name) for name in exact}
        self.lowered: dict[str, OutputComparison] = {}

    @property
    def tapped(self) -> bool:
        return bool(self.lowered)

    def add(self, feeds: Arrays, session: Session | None) -> None:
        """One sample through all of them."""
        exact = self.exact.run(feeds)
        fed = {self.cut.inputs[name]: exact[name] for name in self.own}
        alone = self.layered.run({**feeds, **fed})
        whole = self.accumulated.run(feeds)
        for name in self.own:
            self.own[name].add(alone[self.cut.outputs[name]], exact[name])
            self.whole[name].add(whole[self.restored[name]], exact[name])
        if session is not None:
            self._add_artifact(session.run(feeds, taps=list(self.own)), exact)

    def _add_artifact(self, got: Arrays, exact: Arrays) -> None:
        for name in self.own:
            if name in got and got[name].shape == exact[name].shape:
                self.lowered.setdefault(name, OutputComparison(name)).add(got[name], exact[name])

    def layers(self, narrowed: Set[str], costs: Mapping[str, LayerCost]) -> Iterable[LayerError]:
        """The rows in the graph's order."""
        for name in self.own:
            node = self.makers[name]
            own, whole = self.own[name].result(), self.whole[name].result()
            artifact = self.lowered[name].result() if name in self.lowered else None
            yield LayerError(
                tensor=name,
                node=node.name or name,
                op=node.op_type,
                own=own,
                accumulated=whole,
                artifact=artifact,
                narrowed=name in narrowed,
                price=costs[name].error,
                group=tuple(sorted(costs[name].nodes)),
                blame=_blame(own, whole, artifact, narrowed=name in narrowed, price=costs[name].error),
            )


def _blame(
    own: OutputParity,
    whole: OutputParity,
    artifact: OutputParity | None,
    *,
    narrowed: bool,
    price: float,
) -> Blame:
    """Lowering where the file is farther off than its Q/DQ graph; quantization where the layer alone is.

    Or where its little error is enough to move the outputs.
    """
    if artifact is not None and artifact.sqnr_db < whole.sqnr_db - _FARTHER_DB:
        return "lowering"
    bad = own.sqnr_db < _GOOD_DB or price > _DEAR
    return "quantization" if bad and not narrowed else ""


def _makers(model: ir.Model) -> dict[str, ir.Node]:
    """Tensor name -> the node that makes it."""
    return {value.name: node for node in model.graph for value in node.outputs if value.name}


def _restored_names(qdq: ir.Model) -> dict[str, str]:
    """Quantized tensor -> the name of its value behind Q/DQ, which is what readers get."""
    found: dict[str, str] = {}
    outputs = {value.name for value in qdq.graph.outputs}
    for node in qdq.graph:
        codes = node.inputs[0] if node.op_type == "DequantizeLinear" else None
        maker = None if codes is None else codes.producer()
        if maker is None or maker.op_type != "QuantizeLinear" or maker.inputs[0] is None:
            continue
        restored = str(node.outputs[0].name)
        found[restored if restored in outputs else str(maker.inputs[0].name)] = restored
    return found


def _compare_outputs(golden: Golden) -> tuple[OutputParity, ...]:
    """The Q/DQ graph's outputs beside fp32's."""
    comparisons: dict[str, OutputComparison] = {}
    for sample in golden.samples:
        for name, expected in sample.fp32.items():
            if sample.reference is not None and expected.dtype.kind == "f":
                comparisons.setdefault(name, OutputComparison(name)).add(sample.reference[name], expected)
    return tuple(comparison.result() for comparison in comparisons.values())

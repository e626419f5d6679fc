"""The calibration stage of a recipe: its samples, and the record they give, kept by content."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgekit._cache import key
from edgekit.errors import ModelError, OutputError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

    from edgekit._cache import Cache
    from edgekit._recipe import Recipe
    from edgekit._values import Component, Progress, ShapeSpec, TensorInfo
    from edgekit.calibration.record import CalibrationRecord
    from edgekit.calibration.samples import Samples

STAGE = "calibration"


@dataclass(frozen=True)
class Calibration:
    """What samples say of a component: its record, and the JSON of their sketches (None: they are random)."""

    record: CalibrationRecord
    sketches: bytes | None


def open_samples(recipe: Recipe, component: Component) -> Samples:
    """The samples a recipe names, checked against the component's inputs; UsageError where it names none."""
    from edgekit.calibration.preprocess import parse_preprocess
    from edgekit.calibration.samples import load_samples
    from edgekit.sources.graph_io import inputs_of

    if recipe.samples is None:
        raise UsageError(
            "no samples are given",
            fix="add --samples DATA (a folder of images or .npz files), or --samples random to try it out",
        )
    spec = None if recipe.preprocess is None else parse_preprocess(recipe.preprocess)
    inputs = [_with_shape(info, recipe.shapes) for info in inputs_of(component.model)]
    return load_samples(recipe.samples, inputs, preprocess=spec, limit=recipe.limit, shapes=recipe.shapes)


def _with_shape(info: TensorInfo, shapes: ShapeSpec) -> TensorInfo:
    """The input with the sizes that the user fixed, for the graph may not be prepared yet."""
    given = shapes.get(info.name, ())
    if len(given) != len(info.shape):
        return info
    dims = [dim.low if dim.is_fixed else old for dim, old in zip(given, info.shape, strict=True)]
    return replace(info, shape=tuple(dims))


def default_observer(recipe: Recipe) -> str:
    """minmax; where ranges are searched for too, mse: its record holds the extremes beside its own range."""
    return "minmax" if recipe.max_drop is None else "mse"


def calibrate_component(
    component: Component, samples: Samples, *, recipe: Recipe, cache: Cache, progress: Progress
) -> Calibration:
    """The calibration of a prepared component, from the cache where these samples were seen before.

    The key covers the source's digest, the shapes, the graph as it was prepared and expanded, the
    samples and the observer with its parameters; the cache itself covers edgekit's code.
    """
    from edgekit._qdq import ALL, list_candidates, list_equalized
    from edgekit.calibration.data_sketches import DataSketches
    from edgekit.calibration.observe_ranges import observe_ranges
    from edgekit.calibration.observers import observer_parameters
    from edgekit.calibration.plan_measures import WatchList
    from edgekit.calibration.record import CalibrationRecord

    observer = recipe.observer or default_observer(recipe)
    parameters = observer_parameters(observer)
    everything = ALL in recipe.only_ops
    form = key(recipe.shapes, dict(recipe.bind), _structure(component), everything)
    entry = key(component.name, component.digest, form, samples.digest, observer, parameters)

    def observe(folder: Path) -> None:
        graph = component.model.graph
        candidates = None if everything else list_candidates(graph)
        if candidates is not None and not candidates:
            _refuse_branches_alone(graph)
        sketches = None if samples.kind == "random" else DataSketches()
        show = None if sketches is None else sketches.add
        watch = WatchList(candidates, list_equalized(graph), show)
        record = observe_ranges(component, samples, observer=observer, watch=watch, progress=progress)
        (folder / "record.json").write_text(record.to_json(), encoding="utf-8")
        if sketches is not None:
            (folder / "sketches.json").write_text(sketches.to_json(), encoding="utf-8")

    folder = cache.folder(STAGE, entry, observe)
    record = CalibrationRecord.from_json((folder / "record.json").read_text(encoding="utf-8"))
    kept = folder / "sketches.json"
    return Calibration(record, kept.read_bytes() if kept.exists() else None)


def _refuse_branches_alone(graph: ir.Graph) -> None:
    """ModelError where everything to quantize lies in branches; without any, there is just nothing to do."""
    from edgekit.passes._rewire import CONTROL_FLOW
    from edgekit.passes.deciding_inputs import bind_deciding_inputs

    node = next((item for item in graph if item.op_type in CONTROL_FLOW), None)
    if node is not None:
        raise ModelError(
            f"{node.op_type} '{node.name}': all that could become INT8 lies in branches that are chosen at "
            "run time, where nothing is calibrated",
            fix=f"{bind_deciding_inputs(graph)}, or ask for --precision fp32",
        )


def calibrate_recipe(recipe: Recipe, progress: Progress) -> CalibrationRecord:
    """Load, prepare and calibrate the model of a recipe on its own, for no target."""
    from edgekit._cache import open_cache
    from edgekit._qdq import lift_component
    from edgekit.passes.prepare_component import prepare_component
    from edgekit.sources.components import load_components
    from edgekit.sources.shape_only import refuse_shape_only

    progress("load model", 0, None)
    source, *others = load_components(recipe.model, recipe.bind, recipe.cache)
    if others:
        raise UsageError(
            f"'{recipe.model}' holds several components, and a record is of one",
            fix="name the .onnx of one of them; `convert` calibrates them all",
        )
    component = prepare_component(refuse_shape_only(source), shapes=recipe.shapes)
    samples = open_samples(recipe, component)
    component = lift_component(component)
    with open_cache(recipe.cache) as cache:
        made = calibrate_component(component, samples, recipe=recipe, cache=cache, progress=progress)
        return made.record


def _structure(component: Component) -> list[list[str]]:
    """Every node's op, inputs and outputs: tells prepared and expanded forms of one source apart."""
    return [
        [
            node.domain,
            node.op_type,
            *(str(value.name) if value else "" for value in (*node.inputs, *node.outputs)),
        ]
        for node in component.model.graph.all_nodes()
    ]


def keep_record(record: CalibrationRecord, recipe: Recipe) -> None:
    """Write a record to the recipe's `output` in one rename; OutputError where that exists or fails."""
    from edgekit._bundle import write_whole

    path = recipe.output_folder
    if path.exists() and not recipe.overwrite:
        raise OutputError(f"'{path}' exists", fix="name another file with -o, or add --overwrite")
    write_whole(path, record.to_json())

"""edgekit drift: what a fleet's models see and give, against what they were made and proven with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from edgekit._bundle import open_bundle
from edgekit._field.baseline import sketch_baseline
from edgekit._field.devices import compare_devices, find_corrections
from edgekit._field.distances import Distances, measure_distances
from edgekit._field.fleet import merge_fleet
from edgekit._field.measured import measure_fleet
from edgekit._field.rounding import find_roundings, worst_roundings
from edgekit._field.shares import Shares
from edgekit._field.thresholds import METRICS, Limits, load_thresholds
from edgekit._recipe import Recipe
from edgekit.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgekit._field.devices import DeviceFigure
    from edgekit._field.fleet import Fleet, Seen
    from edgekit._field.thresholds import Thresholds
    from edgekit._field_figures import FieldFigures
    from edgekit._monitor.device.sketch import Sketch
    from edgekit._values import Progress
    from edgekit.calibration.data_sketches import DataSketches
    from edgekit.target import Target

Status = Literal["stable", "moved", "drift", "unknown"]
Side = Literal["input", "output", "inner"]


class DriftWords(TypedDict, total=False):
    """What `drift` takes. baseline: samples as `--samples`; thresholds: a TOML file, as thresholds.toml.

    output: the folder of a page with plots; evidently: with a report of Evidently beside it.
    """

    baseline: str | Path | None
    preprocess: str | Mapping[str, Any] | None
    limit: int | None
    thresholds: str | Path | None
    output: str | Path | None
    evidently: bool


@dataclass(frozen=True)
class Curves:
    """Numbers in order that stand for a tensor's, each for as many (`Shares.spread`); empty for none.

    counted: the field's without what the artifact's own error may be; empty where that is not known.
    """

    baseline: tuple[float, ...] = ()
    field: tuple[float, ...] = ()
    counted: tuple[float, ...] = ()


@dataclass(frozen=True)
class TensorDrift:
    """One tensor: its distances (None where nothing finite was seen) and what they say.

    status: `unknown` where too few inferences were sketched, or none of this tensor. reason: the metrics
    above their limits, or why nothing is known. baseline, field: quantiles of 1, 50 and 99 %. rounding: how
    far the field's numbers may lie from the baseline's without being counted, for that is the artifact's own
    error. curves: what is compared, to be drawn.
    """

    component: str
    side: Side
    tensor: str
    status: Status
    reason: str
    distances: Distances | None
    baseline: tuple[float, ...]
    field: tuple[float, ...]
    rounding: float = 0.0
    curves: Curves = Curves()


@dataclass(frozen=True)
class DriftResult:
    """What a fleet's files say of a bundle; `passed` unless some tensor drifted.

    model: the device that the bundle was made for. baselines: by component, what it was held against.
    figures: what each device takes, the worst first. correction: by `<component>/<variant>/<quantity>`, the
    factor that the expected figure lacks. limits: of each metric. measured: what the fleet says of such
    devices, for predictions; None where too little was seen.
    """

    bundle: str
    model: str
    files: int
    devices: int
    inferences: int
    baselines: Mapping[str, str]
    tensors: tuple[TensorDrift, ...]
    figures: tuple[DeviceFigure, ...]
    correction: Mapping[str, float]
    limits: Mapping[str, Limits]
    notes: tuple[str, ...]
    measured: FieldFigures | None = None

    @property
    def passed(self) -> bool:
        return not any(one.status == "drift" for one in self.tensors)

    @property
    def missed(self) -> tuple[DeviceFigure, ...]:
        """The devices' figures that are above their limit, the worst first."""
        return tuple(one for one in self.figures if one.status == "missed")

    @property
    def held(self) -> int:
        """How many devices had anything expected of them."""
        return len({one.device for one in self.figures if one.status != "unknown"})


def find_drift(
    path: Path,
    fields: Sequence[Path],
    words: DriftWords,
    *,
    targets: Mapping[str, Target],
    progress: Progress,
) -> DriftResult:
    """Merge the field files and hold them against the baseline, tensor by tensor, and device by device.

    Every byte of the bundle is checked first. FieldError names a file that is damaged or of another model.
    """
    given = words.get("thresholds")
    thresholds = load_thresholds(None if given is None else Path(given))
    recipe = Recipe.of(
        path, samples=words.get("baseline"), preprocess=words.get("preprocess"), limit=words.get("limit")
    )
    with open_bundle(path) as bundle:
        fleet = merge_fleet(fields, bundle, progress)
        if not fleet.files:
            raise FieldError("there is no field file", fix="name files that the monitor wrote")
        baselines = {
            component: sketch_baseline(component, bundle, recipe, targets=targets, progress=progress)
            for component in fleet.components
        }
        tensors = [
            row
            for component, seen in fleet.components.items()
            for row in _judge_component(
                (component, seen),
                baselines[component].sketches,
                find_roundings(component, _variants(component, fleet), bundle)
                | worst_roundings(baselines[component].sketches.rounding, _variants(component, fleet)),
                thresholds,
            )
        ]
        figures = compare_devices(fleet, bundle, path, thresholds.late)
        return DriftResult(
            bundle=bundle.digest,
            model=bundle.manifest["device"]["name"],
            files=fleet.files,
            devices=len({device for _, _, device in fleet.devices}),
            inferences=sum(one.inferences for one in fleet.devices.values()),
            baselines={component: one.basis for component, one in baselines.items()},
            tensors=tuple(tensors),
            figures=figures,
            correction=find_corrections(figures),
            limits=thresholds.metrics,
            measured=measure_fleet(fleet, bundle, thresholds.least_inferences),
            notes=tuple(one.note for one in baselines.values() if one.note),
        )


def _variants(component: str, fleet: Fleet) -> set[str]:
    return {variant for name, variant, _ in fleet.devices if name == component}


def _judge_component(
    whose: tuple[str, Seen], baseline: DataSketches, roundings: Mapping[str, float], thresholds: Thresholds
) -> Iterator[TensorDrift]:
    component, seen = whose
    few = ""
    if seen.sketched < thresholds.least_inferences:
        few = f"{seen.sketched} inferences were sketched, fewer than {thresholds.least_inferences:g}"
    for name, sketch in baseline.inputs.items():
        yield _judge((component, "input", name), (sketch, seen.inputs.get(name)), thresholds, few=few)
    for name, sketch in baseline.outputs.items():
        both = (sketch, seen.outputs.get(name))
        known = roundings.get(name, 0.0)
        yield _judge((component, "output", name), both, thresholds, few=few, rounding=known)
    for name in [name for name in baseline.inner if name in seen.inner]:
        both = (baseline.inner[name], seen.inner[name])
        known = roundings.get(name, 0.0)
        yield _judge((component, "inner", name), both, thresholds, few=few, rounding=known)


def _judge(
    told: tuple[str, Side, str],
    both: tuple[Sketch, Sketch | None],
    thresholds: Thresholds,
    *,
    few: str,
    rounding: float = 0.0,
) -> TensorDrift:
    baseline, now = both
    if now is None or not now.count + now.nonfinite:
        return TensorDrift(*told, "unknown", "no device sketched it", None, _quantiles(baseline), ())
    if not now.count or not baseline.count:
        reason = f"every number {'in the field' if baseline.count else 'of the baseline'} is NaN or infinite"
        status: Status = "drift" if baseline.count else "unknown"
        return TensorDrift(*told, status, reason, None, _quantiles(baseline), _quantiles(now))
    distances = measure_distances(baseline, now, rounding)
    status, reason = ("unknown", few) if few else _compare(distances, thresholds)
    ends = _quantiles(baseline), _quantiles(now)
    return TensorDrift(*told, status, reason, distances, *ends, rounding, _draw(baseline, now, rounding))


def _draw(baseline: Sketch, now: Sketch, rounding: float) -> Curves:
    before, seen = Shares.of(baseline), Shares.of(now)
    counted = seen.forgive(before, rounding).spread() if rounding > 0 else ()
    return Curves(before.spread(), seen.spread(), counted)


def _compare(distances: Distances, thresholds: Thresholds) -> tuple[Status, str]:
    """The worst that any metric says, counted by what is beyond chance and the sketches' own error."""
    figures = {name: float(getattr(distances, name)) for name in METRICS}
    sure = {name: figures[name] - getattr(distances, f"{name}_error", 0.0) for name in METRICS}
    for status, limit_of in (("drift", "drift"), ("moved", "moved")):
        limits = {name: float(getattr(thresholds.metrics[name], limit_of)) for name in METRICS}
        above = [
            f"{name} {figures[name]:.3g} > {limits[name]:g}" for name in METRICS if sure[name] > limits[name]
        ]
        if above:
            return ("drift" if status == "drift" else "moved"), ", ".join(above)
    return "stable", ""


def _quantiles(sketch: Sketch) -> tuple[float, ...]:
    found = tuple(sketch.quantile(share) for share in (0.01, 0.5, 0.99))
    return () if math.isnan(found[0]) else found

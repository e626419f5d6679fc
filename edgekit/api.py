"""edgekit in Python, from a model to its bundles: one function a command, the same names and errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._bundle_api import quiet
from edgekit._recipe import Recipe
from edgekit._recipe_values import parse_shapes
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Unpack

    from edgekit._bundle import BundleProof
    from edgekit._debug import DebugResult
    from edgekit._doctor import DoctorReport
    from edgekit._estimate import Estimate, EstimateWords
    from edgekit._inspect import ModelReport
    from edgekit._plan import ConvertPlan
    from edgekit._recipe import RecipeOptions
    from edgekit._recipe_values import Shape
    from edgekit._results import ConvertResult
    from edgekit._signers import Trusted
    from edgekit._sweep import SweepWords
    from edgekit._sweep_values import SweepResult
    from edgekit._values import Device, Gap, Progress
    from edgekit._verify_samples import VerifyOptions
    from edgekit.calibration.record import CalibrationRecord
    from edgekit.sources.export_source import ExportWords
    from edgekit.target import Target


def convert(
    model: str | Path | Recipe, *, progress: Progress | None = None, **options: Unpack[RecipeOptions]
) -> ConvertResult:
    """Make one proven bundle a target: `convert("m.onnx", targets="jetson-orin", samples="data/")`.

    `options` are those of `Recipe`; a Recipe takes no options beside it. Look at `result.passed`:
    a bundle below its gate is reported there, with the worst tensors. Raises EdgekitError.
    """
    from edgekit._convert import convert_recipe

    return convert_recipe(_recipe(model, options), progress or quiet)


def sweep(
    recipe: str | Path, *, progress: Progress | None = None, **words: Unpack[SweepWords]
) -> SweepResult:
    """Convert every model of a sweep recipe for every target: local processes, or `dask="tcp://host:8786"`.

    `words`: dask, workers, output, cache, overwrite, trust. Look at `result.passed`: a job that is refused
    or dies is a row, and the others go on. Raises EdgekitError where no job could be run.
    """
    from edgekit._sweep import run_sweep

    return run_sweep(Path(recipe), words, progress or quiet)


def plan(model: str | Path | Recipe, **options: Unpack[RecipeOptions]) -> ConvertPlan:
    """What `convert` would do with the same arguments; writes nothing (`--dry-run`)."""
    from edgekit._plan import plan_convert

    return plan_convert(_recipe(model, options))


def export(
    source: str | Path,
    output: str | Path,
    *,
    progress: Progress | None = None,
    **options: Unpack[ExportWords],
) -> Path:
    """Write a PyTorch or Hugging Face source as ONNX to a new folder, proven against its modules.

    OutputError for a folder that exists. What `convert` does with such a source, without the rest.
    shape_only: from the architecture alone; `inspect`, `check` and `estimate` need no more.
    random_weights: a seed; the same, and `convert` draws the weights a tensor at a time. trusted: pickles in
    the source may be loaded, which runs code of whoever wrote them.
    """
    from edgekit.sources.export_source import export_to

    return export_to(Path(source), Path(output), progress or quiet, options)


def inspect(
    model: str | Path,
    shapes: str | Sequence[str] | Mapping[str, Shape] | None = None,
    *,
    shape_only: bool = False,
) -> ModelReport:
    """Inputs, outputs, opset, ops, parameters, MACs and memory of a model, node by node.

    UsageError for a source of several components: `inspect_components` has a report of each.
    shape_only: a PyTorch or Hugging Face source is read without its weights.
    """
    first, *others = inspect_components(model, shapes, shape_only=shape_only)
    if others:
        raise UsageError(f"'{model}' has {1 + len(others)} components", fix="use edgekit.inspect_components")
    return first


def inspect_components(
    model: str | Path,
    shapes: str | Sequence[str] | Mapping[str, Shape] | None = None,
    *,
    shape_only: bool = False,
) -> tuple[ModelReport, ...]:
    """`inspect` of each component, in the scenario's order; one for a plain model."""
    from edgekit._inspect import inspect_source

    return inspect_source(_exported(model, shape_only=shape_only), parse_shapes(shapes))


SCENARIO = "scenario.toml"


def estimate(
    model: str | Path | None = None, *, shape_only: bool = False, **options: Unpack[EstimateWords]
) -> Estimate:
    """Latency, memory and power of a float model on every device (or `devices`), without converting.

    `scenario` (a scenario.toml, or a folder with one as `model`) estimates a request of several components.
    Every figure says what it rests on and within which 80 % interval it lies. Raises EdgekitError.
    shape_only: a PyTorch or Hugging Face source is read without its weights.
    """
    from edgekit._estimate import estimate_model, estimate_scenario

    model = None if model is None else _exported(model, shape_only=shape_only)
    scenario = options.get("scenario") or (model if model and Path(model, SCENARIO).is_file() else None)
    if scenario is None:
        if model is None:
            raise UsageError("no model is given", fix="name an ONNX file, or a scenario.toml with --scenario")
        return estimate_model(Path(model), list_devices(), options)
    if model is not None and options.get("scenario"):
        raise UsageError("a model and a scenario are both given", fix="the scenario names its models")
    path = Path(scenario)
    return estimate_scenario(path / SCENARIO if path.is_dir() else path, list_devices(), options)


def check(
    model: str | Path | Recipe, *, shape_only: bool = False, **options: Unpack[RecipeOptions]
) -> list[Gap]:
    """Every gap of every target in `targets`, before any work; each names its node, the rule and a way out.

    Without `precisions` the INT8 form is checked, the strictest one. shape_only: a PyTorch or Hugging Face
    source is read without its weights.
    """
    from edgekit._plan import check_recipe

    recipe = _recipe(model, options)
    exported = _exported(recipe.model, shape_only=shape_only, cache=recipe.cache)
    return list(check_recipe(replace(recipe, model=exported)))


def calibrate(
    model: str | Path | Recipe, *, progress: Progress | None = None, **options: Unpack[RecipeOptions]
) -> CalibrationRecord:
    """Observe the range of every tensor on `samples`; `output` names a JSON file to keep the record in.

    OutputError for a file that exists, unless `overwrite`, or cannot be written.
    """
    from edgekit._calibrate import calibrate_recipe, keep_record

    recipe = _recipe(model, options)
    record = calibrate_recipe(recipe, progress or quiet)
    if recipe.output is not None:
        keep_record(record, recipe)
    return record


def verify(
    bundle: str | Path,
    on: str = "",
    *,
    signed_by: Trusted | None = None,
    progress: Progress | None = None,
    **options: Unpack[VerifyOptions],
) -> BundleProof:
    """Prove a bundle (folder or archive) again, here: every byte, and every artifact on its golden data.

    With `samples` each artifact is compared with the bundle's fp32 one on all of them instead.
    `on="qemu-arm64"` runs the golden data in the runtime's aarch64 wheel, emulated. `gate`
    holds limits that take the place of gate.toml's. With `signed_by` nothing runs before the signature
    was checked. Raises BundleError for a changed byte and a signature that does not hold.
    """
    from edgekit._verify_samples import Place, prove
    from edgekit.registry import load_targets

    place = Place(on, signed_by)
    return prove(Path(bundle), Recipe.of(bundle, **options), load_targets(), progress or quiet, at=place)


def debug(
    model: str | Path | Recipe, *, progress: Progress | None = None, **options: Unpack[RecipeOptions]
) -> tuple[DebugResult, ...]:
    """Where each target's INT8 loses accuracy, layer by layer: alone, accumulated, and in the target's file.

    `output` names a folder for debug.json and the worst layer cut out with its inputs. Raises EdgekitError.
    """
    from edgekit._cache import open_cache
    from edgekit._debug import debug_recipe, save_debug

    recipe = _recipe(model, options)
    with open_cache(recipe.cache) as cache:
        results = debug_recipe(recipe, cache, progress or quiet)
    if recipe.output is not None:
        save_debug(results, Path(recipe.output))
    return results


def list_targets() -> dict[str, Target]:
    """The installed toolchains by name."""
    from edgekit.registry import load_targets

    return load_targets()


def list_devices(name: str | None = None) -> list[Device]:
    """Every known device, sorted by name, or the one that `name` (device, device@software, alias) means."""
    from edgekit.registry import load_devices, load_targets, resolve_target

    if name is not None:
        return [resolve_target(name).device]
    return sorted(load_devices(load_targets().values()).values(), key=lambda device: device.name)


def doctor() -> DoctorReport:
    """What is installed, what is missing, and the command that gets it."""
    from edgekit._doctor import examine

    return examine()


def _recipe(model: str | Path | Recipe, options: RecipeOptions) -> Recipe:
    if not isinstance(model, Recipe):
        return Recipe.of(model, **options)
    if options:
        raise UsageError(
            f"a Recipe and options ({', '.join(options)}) are both given", fix="put them into the Recipe"
        )
    return model


def _exported(model: str | Path, *, shape_only: bool, cache: str | None = None) -> Path:
    """What to read in place of a PyTorch or Hugging Face source; anything else as it is."""
    from edgekit.sources.export_source import needs_export, open_export

    path = Path(model)
    return open_export(path, cache, shape_only=shape_only) if needs_export(path) else path

"""edgekit in Python: one function a command, the same names and the same errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

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
    from edgekit._feasibility import Report
    from edgekit._field import DriftResult, DriftWords
    from edgekit._fleet_cost import FleetCost
    from edgekit._gate import GateResult
    from edgekit._inspect import ModelReport
    from edgekit._package import PackageResult, PackageWords, PullResult, PushResult
    from edgekit._plan import ConvertPlan
    from edgekit._profile import ProfileResult, ProfileWords
    from edgekit._recipe import RecipeOptions
    from edgekit._recipe_values import Shape
    from edgekit._results import ConvertResult
    from edgekit._signers import Signer, Trusted
    from edgekit._sweep import SweepWords
    from edgekit._sweep_values import SweepResult
    from edgekit._values import Device, Gap, Progress
    from edgekit._verify_samples import VerifyOptions
    from edgekit.calibration.record import CalibrationRecord
    from edgekit.reports.write_report import ReportWords
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

    return convert_recipe(_recipe(model, options), progress or _quiet)


def sweep(
    recipe: str | Path, *, progress: Progress | None = None, **words: Unpack[SweepWords]
) -> SweepResult:
    """Convert every model of a sweep recipe for every target: local processes, or `dask="tcp://host:8786"`.

    `words`: dask, workers, output, cache, overwrite, trust. Look at `result.passed`: a job that is refused
    or dies is a row, and the others go on. Raises EdgekitError where no job could be run.
    """
    from edgekit._sweep import run_sweep

    return run_sweep(Path(recipe), words, progress or _quiet)


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

    return export_to(Path(source), Path(output), progress or _quiet, options)


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
    record = calibrate_recipe(recipe, progress or _quiet)
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
    return prove(Path(bundle), Recipe.of(bundle, **options), load_targets(), progress or _quiet, at=place)


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
        results = debug_recipe(recipe, cache, progress or _quiet)
    if recipe.output is not None:
        save_debug(results, Path(recipe.output))
    return results


def profile(
    bundle: str | Path,
    on: str = "local",
    *,
    progress: Progress | None = None,
    **options: Unpack[ProfileWords],
) -> ProfileResult:
    """Run a bundle on the device at `on` (`local`, `ssh://`, `mac://user@host`, `adb://serial`), measure it.

    The profile is kept as JSON beside the sealed bundle (or at `output`), which it never changes. A run
    that breaks off is kept too, with its `problem`. Raises EdgekitError where nothing could be measured.
    """
    from edgekit._profile import profile_and_keep
    from edgekit.registry import load_targets

    return profile_and_keep(Path(bundle), on, options, targets=load_targets(), progress=progress or _quiet)


def report(
    bundles: str | Path | Sequence[str | Path], output: str | Path, **options: Unpack[ReportWords]
) -> Report:
    """One feasibility report over bundles and their profiles: JSON, HTML, Markdown, JUnit in `output`.

    Look at `result.passed`: a broken budget or a regression is reported there. Raises EdgekitError.
    """
    from edgekit.reports.write_report import write_report

    paths = [bundles] if isinstance(bundles, (str, Path)) else list(bundles)
    return write_report([Path(path) for path in paths], Path(output), options)


def gate(
    bundles: str | Path | Sequence[str | Path], policy: str | Path, profiles: Sequence[str | Path] = ()
) -> GateResult:
    """Judge bundles by a policy file: `gate("m-edgekit/...", "policy.toml").passed`. Raises EdgekitError."""
    from edgekit._gate import judge_bundles

    paths = [bundles] if isinstance(bundles, (str, Path)) else list(bundles)
    return judge_bundles([Path(path) for path in paths], Path(policy), [Path(path) for path in profiles])


def cost(report: str | Path, prices: str | Path) -> FleetCost:
    """A year of a fleet by a report.json and your own price table, as TOML. Raises EdgekitError."""
    from edgekit._fleet_cost import cost_fleet

    return cost_fleet(Path(report), Path(prices))


def sign(
    bundle: str | Path,
    signer: str | Path | Signer,
    *,
    certificate: str | Path | None = None,
    chain: Sequence[str | Path] = (),
    output: str | Path | None = None,
) -> Path:
    """Sign a bundle: `sign("out/pixel-9", "key.pem")` writes `out/pixel-9.sig`. Raises EdgekitError.

    signer: a private key's file, whose certificate and chain may follow, or a `Keyless` for Sigstore.
    """
    from edgekit._signature import sign_bundle
    from edgekit._signers import as_signer

    given = as_signer(signer, certificate, chain)
    return sign_bundle(Path(bundle), given, None if output is None else Path(output))


def package(
    bundle: str | Path, form: str, output: str | Path, **options: Unpack[PackageWords]
) -> PackageResult:
    """Write a bundle as a serving platform takes it: `package("m-edgekit/...", "triton", "models/")`.

    Nothing is converted again. `variants` picks artifacts (default: all that passed their gate), `name` names
    the model. Raises EdgekitError.
    """
    from edgekit._package import package_bundle

    return package_bundle(Path(bundle), form, Path(output), options)


def push(bundle: str | Path, destination: str, progress: Progress | None = None) -> PushResult:
    """Put a bundle into a registry: `push("m-edgekit/...", "oci://localhost:5000/ocr:1.0")`.

    Files that the registry has already are not sent again. Raises EdgekitError.
    """
    from edgekit._package import push_bundle

    return push_bundle(Path(bundle), destination, progress or _quiet)


def pull(source: str, output: str | Path, progress: Progress | None = None) -> PullResult:
    """Get a pushed bundle back into a new folder, every byte checked. Raises EdgekitError."""
    from edgekit._package import pull_bundle

    return pull_bundle(source, Path(output), progress or _quiet)


def describe(bundle: str | Path, form: Literal["cyclonedx", "in-toto"]) -> str:
    """What a bundle is made of, as JSON text: a CycloneDX ML-BOM, or in-toto provenance."""
    from edgekit._bundle import open_bundle
    from edgekit._describe import bill_of_materials, provenance

    forms = {"cyclonedx": bill_of_materials, "in-toto": provenance}
    if form not in forms:
        raise UsageError(f"'{form}' is no description", fix=f"known: {', '.join(forms)}")
    with open_bundle(Path(bundle)) as opened:
        return forms[form](opened)


def drift(
    bundle: str | Path,
    fields: str | Path | Sequence[str | Path],
    *,
    progress: Progress | None = None,
    **options: Unpack[DriftWords],
) -> DriftResult:
    """Hold what devices saw (files of their monitors, or folders) against what a bundle was made with.

    The baseline is what the bundle was calibrated on, or the samples that `baseline` names; `output` is a
    folder for drift.html and drift.json. Look at `result.passed`. Raises FieldError for a file that is
    damaged or of another model, EdgekitError for the rest.
    """
    from edgekit._field import find_drift
    from edgekit.registry import load_targets
    from edgekit.reports.write_drift import check_output, write_drift

    check_output(options)
    paths = [fields] if isinstance(fields, (str, Path)) else list(fields)
    targets, quiet = load_targets(), progress or _quiet
    result = find_drift(
        Path(bundle), [Path(path) for path in paths], options, targets=targets, progress=quiet
    )
    write_drift(result, options)
    return result


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


def _quiet(stage: str, done: int, total: int | None) -> None:
    """The progress of a caller who wants none."""


def _exported(model: str | Path, *, shape_only: bool, cache: str | None = None) -> Path:
    """What to read in place of a PyTorch or Hugging Face source; anything else as it is."""
    from edgekit.sources.export_source import needs_export, open_export

    path = Path(model)
    return open_export(path, cache, shape_only=shape_only) if needs_export(path) else path

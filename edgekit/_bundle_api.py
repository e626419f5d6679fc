"""edgekit in Python, from finished bundles on: they are measured, judged, signed, packaged and watched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from edgekit._feasibility import Report
    from edgekit._field import DriftResult, DriftWords
    from edgekit._fleet_cost import FleetCost
    from edgekit._gate import GateResult
    from edgekit._package import PackageResult, PackageWords, PullResult, PushResult
    from edgekit._profile import ProfileResult, ProfileWords
    from edgekit._signers import Signer
    from edgekit._values import Progress
    from edgekit.reports.write_report import ReportWords


def quiet(stage: str, done: int, total: int | None) -> None:
    """The progress of a caller who wants none."""


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

    return profile_and_keep(Path(bundle), on, options, targets=load_targets(), progress=progress or quiet)


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

    return push_bundle(Path(bundle), destination, progress or quiet)


def pull(source: str, output: str | Path, progress: Progress | None = None) -> PullResult:
    """Get a pushed bundle back into a new folder, every byte checked. Raises EdgekitError."""
    from edgekit._package import pull_bundle

    return pull_bundle(source, Path(output), progress or quiet)


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
    targets, told = load_targets(), progress or quiet
    result = find_drift(Path(bundle), [Path(path) for path in paths], options, targets=targets, progress=told)
    write_drift(result, options)
    return result

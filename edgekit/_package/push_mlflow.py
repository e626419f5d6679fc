"""A bundle to an MLflow server: a run with its figures and files, then a version of a registered model."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._bundle import MANIFEST, open_bundle
from edgekit._feasibility import Report, describe_bundles
from edgekit._package.describe_model import describe_lineage, tell_private
from edgekit._package.list_metrics import list_metrics
from edgekit._package.mlflow_model import write_mlflow
from edgekit._package.mlflow_server import open_server, parse_mlflow_place
from edgekit._package.package_bundle import make_job
from edgekit._package.push import PushResult
from edgekit.reports.feasibility_report import render_markdown, report_json

if TYPE_CHECKING:
    from edgekit._package.job import PackageJob
    from edgekit._package.mlflow_server import MlflowPlace, MlflowServer
    from edgekit._values import Progress

# The folders of a run: what is registered, and where it comes from.
_MODEL, _LINEAGE = "model", "edgekit"
_PACKAGE = "edgekit.package"


def push_mlflow(path: Path, destination: str, progress: Progress) -> PushResult:
    """Log the bundle's model as a run of the experiment of its name, and register a version of it.

    Raises UsageError for another destination, MissingToolError without mlflow, OutputError where the server
    refuses or cannot be reached. The version comes last, and nothing of a push that fails is left. A model
    that is registered already, with the same figures, is not sent again.
    """
    place = parse_mlflow_place(destination)
    with (
        open_bundle(path) as bundle,
        tempfile.TemporaryDirectory(prefix="edgekit-") as made,
        open_server(place) as server,
    ):
        job = make_job(path, bundle, "mlflow", place.words)
        folder = Path(made)
        (folder / _MODEL).mkdir()
        write_mlflow(job, folder / _MODEL)
        _write_lineage(job, path, folder / _LINEAGE)
        with server.model():
            return _push_folder(server, place, job, folder=folder, progress=progress)


def _push_folder(
    server: MlflowServer, place: MlflowPlace, job: PackageJob, *, folder: Path, progress: Progress
) -> PushResult:
    (artifact,) = job.artifacts
    files = sorted(item for item in folder.rglob("*") if item.is_file())
    digest = _digest(folder / _MODEL)
    told = tuple(tell_private(job, artifact, "the input example"))
    version = server.find_version(_PACKAGE, digest)
    if version is not None:
        return PushResult(f"{place} version {version}", digest, job.bundle.digest, 0, 0, len(files), told)
    tags = {**_tags(job), _PACKAGE: digest}
    with server.run(f"{artifact.variant}-{job.bundle.digest[:12]}", tags) as run:
        server.log_metrics(run, list_metrics(job, artifact))
        for done, file in enumerate(files):
            progress("push", done, len(files))
            server.log_file(run, file, file.parent.relative_to(folder).as_posix())
        version = server.register(run, _MODEL, tags)
    sent = sum(file.stat().st_size for file in files)
    return PushResult(f"{place} version {version}", digest, job.bundle.digest, len(files), sent, 0, told)


def _tags(job: PackageJob) -> dict[str, str]:
    (artifact,) = job.artifacts
    told = {f"edgekit.{name}": text for name, text in describe_lineage(job, artifact).items()}
    told["edgekit.report"] = f"{_LINEAGE}/report.json"
    if job.profile is not None:
        told |= {"edgekit.profiled_on": job.profile.place, "edgekit.profiled_at": job.profile.started}
    return told


def _write_lineage(job: PackageJob, path: Path, folder: Path) -> None:
    """The sealed manifest, README, documents and calibration record, and the report of the bundle."""
    manifest = job.bundle.manifest
    records = [row["calibration"]["file"] for row in manifest["components"] if row["calibration"]]
    names = [MANIFEST, *(name for name in ("README.md",) if name in manifest["files"])]
    for name in [*names, *manifest["documents"], *records]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(job.bundle.folder / name, folder / name)
    # Where the bundle lies on this machine is nobody's business there.
    devices = tuple(replace(device, place=path.name) for device in describe_bundles([path], {}))
    report = Report(devices, {})
    (folder / "report.json").write_text(report_json(report), encoding="utf-8")
    (folder / "report.md").write_text(render_markdown(report, job.name), encoding="utf-8")


def _digest(folder: Path) -> str:
    """One digest over the names and bytes of all files."""
    whole = hashlib.sha256()
    for file in sorted(item for item in folder.rglob("*") if item.is_file()):
        whole.update(f"{file.relative_to(folder).as_posix()}\0".encode())
        with file.open("rb") as opened:
            whole.update(hashlib.file_digest(opened, "sha256").digest())
    return f"sha256:{whole.hexdigest()}"

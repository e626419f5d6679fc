"""What a platform may tell of a model: where it comes from, what was proven and what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit._bundle import Bundle
    from edgekit._package.job import PackageJob
    from edgekit._results import Measurement
    from edgekit._values import Artifact

    Row = Mapping[str, Any]


def describe_model(job: PackageJob, artifact: Artifact) -> dict[str, object]:
    """Lineage, proof and device figures of one artifact in JSON types; infinities are the word `inf`."""
    described: dict[str, object] = {**describe_lineage(job, artifact)}
    if artifact.macs is not None:
        described["int8_mac_share"] = round(artifact.macs.share, 4)
    proof = find_proof(job, artifact)
    if proof is not None:
        kept = ("status", "reason", "samples", "runs_equal", "against_fp32", "against_reference", "task")
        described["parity"] = {name: proof[name] for name in kept}
    if job.profile is not None and (rows := find_figures(job, artifact)):
        described["device_figures"] = {
            "place": job.profile.place,
            "is_the_bundles_device": job.profile.matches,
            "started": job.profile.started,
            "figures": [_figure(name, row) for name, row in rows.items()],
        }
    return described


def describe_lineage(job: PackageJob, artifact: Artifact) -> dict[str, str]:
    """Which bundle, source model and calibration the artifact comes from, by digest; for whom it was made."""
    manifest = job.bundle.manifest
    component = find_component(job, artifact)
    told = {
        "bundle": job.bundle.digest,
        "target": job.bundle.target,
        "device": str(manifest["device"]["name"]),
        "component": artifact.component,
        "variant": artifact.variant,
        "source_sha256": str(component["source_sha256"]),
        "edgekit_version": str(manifest["tools"].get("edgekit", "unknown")),
    }
    if component["calibration"]:
        told["calibration_digest"] = str(component["calibration"]["digest"])
    if manifest["scheme"] and artifact.variant == "int8":
        told["scheme"] = str(manifest["scheme"])
    if component["licence"]:
        told["licence"] = str(component["licence"])
    return told


def find_component(job: PackageJob, artifact: Artifact) -> Row:
    """The manifest's row of the artifact's component."""
    rows: list[Row] = job.bundle.manifest["components"]
    return next(row for row in rows if row["name"] == artifact.component)


def find_proof(job: PackageJob, artifact: Artifact) -> Row | None:
    """The manifest's row of the artifact's parity."""
    rows: list[Row] = job.bundle.manifest["parity"]
    key = (artifact.component, artifact.variant)
    return next((row for row in rows if (row["component"], row["variant"]) == key), None)


def find_figures(job: PackageJob, artifact: Artifact) -> dict[str, Measurement]:
    """The known figures of the newest profile by their name within the artifact (`latency/p50`)."""
    profiled = () if job.profile is None else job.profile.artifacts
    prefix = f"{artifact.component}/{artifact.variant}/"
    return {
        row.metric.removeprefix(prefix): row
        for one in profiled
        if (one.component, one.variant) == (artifact.component, artifact.variant)
        for row in one.measurements
        if row.value is not None
    }


def _figure(name: str, row: Measurement) -> dict[str, object]:
    told: dict[str, object] = {"metric": name, "value": row.value, "unit": row.unit, "kind": row.kind}
    return told | {"basis": row.basis} | ({} if row.interval is None else {"interval": list(row.interval)})


def file_tensors(artifact: Artifact, rows: list[Row]) -> list[dict[str, Any]]:
    """Inputs or outputs as the file has them: its own names, numpy dtypes, sizes with -1 where open.

    TargetError for an element type that numpy has not.
    """
    found: list[dict[str, Any]] = []
    for row in rows:
        try:
            dtype = np.dtype(row["dtype"]).name
        except TypeError as error:
            raise TargetError(
                f"'{row['name']}' is {row['dtype']}, which numpy has not",
                fix="cast it to float32 in the model",
            ) from error
        shape = [size if isinstance(size, int) else -1 for size in row["shape"]]
        found.append({"name": artifact.tensors.get(row["name"], row["name"]), "dtype": dtype, "shape": shape})
    return found


def first_feeds(bundle: Bundle, artifact: Artifact) -> dict[str, np.ndarray]:
    """The inputs of the first golden sample, by the file's names and in its layout."""
    feeds = bundle.stored_golden(artifact.component).samples[0].feeds
    return {artifact.tensors.get(name, name): values for name, values in feeds.items()}


def tell_private(job: PackageJob, artifact: Artifact, what: str) -> list[str]:
    """A line where `what` of the package holds values of the user's own samples."""
    if find_component(job, artifact)["golden"]["kind"] != "samples":
        return []
    return [f"{what} is a sample of yours; convert with --golden random to leave it out"]

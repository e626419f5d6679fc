"""The figures of one model by name, as trackers of experiments plot and compare them."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from edgekit._package.describe_model import find_figures, find_proof

if TYPE_CHECKING:
    from edgekit._package.describe_model import Row
    from edgekit._package.job import PackageJob
    from edgekit._results import Measurement
    from edgekit._values import Artifact

_REFERENCES = {"against_fp32": "fp32", "against_reference": "reference"}
_FIGURES = ("sqnr_db", "cosine", "max_abs", "top1")


def list_metrics(job: PackageJob, artifact: Artifact) -> dict[str, float]:
    """Name -> finite value: size, int8 share, parity by output, task scores, and what a profile knows.

    `device/...` was measured on the bundle's own device, `profiled/...` on a machine of which nobody knows
    that it is one, `predicted/...` nowhere. An SQNR of equal outputs is infinite and
    left out: their `max_abs` is 0.
    """
    size = sum((job.bundle.folder / name).stat().st_size for name in artifact.loaded)
    found: dict[str, float] = {"size_bytes": float(size)}
    if artifact.macs is not None:
        found["int8_mac_share"] = artifact.macs.share
    proof = find_proof(job, artifact)
    if proof is not None:
        found |= _parity(proof)
    where = "device" if job.profile is not None and job.profile.matches is True else "profiled"
    for name, row in find_figures(job, artifact).items():
        found |= _figure(name, row, where)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _parity(proof: Row) -> dict[str, float]:
    found: dict[str, float] = {}
    for rows, against in _REFERENCES.items():
        for row in proof[rows]:
            output = _plain(row["output"])
            while f"parity/{against}/{output}/cosine" in found:
                output += "_"
            known = {name: row[name] for name in _FIGURES if row[name] is not None}
            found |= {f"parity/{against}/{output}/{name}": float(value) for name, value in known.items()}
    if proof["task"] is not None:
        task = proof["task"]
        name = _plain(task["metric"])
        found |= {f"task/{name}/fp32": float(task["fp32"]), f"task/{name}/artifact": float(task["artifact"])}
    return found


def _figure(name: str, row: Measurement, where: str) -> dict[str, float]:
    if row.value is None or row.kind == "unknown":
        return {}
    unit = f"_{_plain(row.unit)}" if row.unit else ""
    parts = "/".join(_plain(part) for part in name.split("/"))
    full = f"{where if row.kind == 'measured' else 'predicted'}/{parts}{unit}"
    found = {full: row.value}
    if row.interval is not None:
        found |= {f"{full}/low": row.interval[0], f"{full}/high": row.interval[1]}
    return found


def _plain(name: str) -> str:
    """A name from a model as one part of a metric's name: what trackers refuse becomes an underscore."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).strip(".")[:80] or "_"

"""A profile as JSON beside the sealed bundle, and back: `edgekit.profile`, version 1."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgekit._bundle import check_schema, load_schema, write_whole
from edgekit._device_tool import LayerTime
from edgekit._profile.values import ArtifactProfile, Profile, Trace
from edgekit._results import Measurement, OutputParity
from edgekit._strict_json import read_json
from edgekit._values import Placement
from edgekit.errors import BundleError, OutputError

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA_FILE = "profile.schema.json"
_MOST_BYTES = 256 << 20
#: Latencies and trace points kept for plots; every figure is made of all of them before.
MOST_POINTS = 5000


def save_profile(profile: Profile, path: Path) -> None:
    """Write the file whole or not at all; OutputError where it cannot be written."""
    text = json.dumps(profile_json(profile), indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"profile '{path}' cannot be written ({error.strerror})", fix="name another place with -o"
        ) from error
    write_whole(path, text + "\n")


def profiles_folder(bundle: Path) -> Path:
    """`<bundle>.profiles` beside a bundle folder or archive: never inside what is sealed."""
    whole = bundle.absolute()
    return whole.parent / f"{whole.name.removesuffix('.tar.gz')}.profiles"


def find_profiles(bundle: Path, digest: str) -> list[Profile]:
    """The profiles beside a bundle that are of it, oldest first; those of an older one of its name are not.

    BundleError for one that is damaged.
    """
    files = sorted(profiles_folder(bundle).glob("*.json"))
    found = [profile for file in files if (profile := load_profile(file)).bundle == digest]
    return sorted(found, key=lambda one: one.started)


def load_profile(path: Path) -> Profile:
    """Read and check one; BundleError names the file and what is wrong in it."""
    try:
        data = read_json(path, _MOST_BYTES)
    except (OSError, ValueError) as error:
        raise BundleError(f"profile '{path}' cannot be read ({error})", fix="measure again") from error
    check_schema(data, load_schema(SCHEMA_FILE), f"profile '{path}'")
    return _profile(data)


def profile_json(profile: Profile) -> dict[str, Any]:
    """The profile in JSON types; numbers that JSON has not are words (`inf`)."""
    body = _plain(asdict(profile))
    for artifact in body["artifacts"]:
        if profile.complete:  # a run that broke off is gone on with, by every figure it had
            artifact["latencies_ms"] = _thin(artifact["latencies_ms"])
    for trace in body["traces"]:
        trace["times_s"], trace["values"] = _thin(trace["times_s"]), _thin(trace["values"])
    return {"schema": "edgekit.profile", "version": 1, **body}


def _thin(values: list[Any]) -> list[Any]:
    """At most MOST_POINTS of them, evenly spaced, the first and the last among them."""
    if len(values) <= MOST_POINTS:
        return values
    step = (len(values) - 1) / (MOST_POINTS - 1)
    return [values[round(place * step)] for place in range(MOST_POINTS)]


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _profile(data: dict[str, Any]) -> Profile:
    kept = {name: value for name, value in data.items() if name not in ("schema", "version")}
    return Profile(
        **{
            **kept,
            "artifacts": tuple(_artifact(row) for row in data["artifacts"]),
            "traces": tuple(
                Trace(row["name"], row["unit"], tuple(row["times_s"]), tuple(row["values"]))
                for row in data["traces"]
            ),
            "notes": tuple(data["notes"]),
            "meters": tuple(data["meters"]),
        }
    )


def _artifact(row: dict[str, Any]) -> ArtifactProfile:
    return ArtifactProfile(
        component=row["component"],
        variant=row["variant"],
        runtime=row["runtime"],
        latencies_ms=tuple(row["latencies_ms"]),
        measurements=tuple(_measurement(one) for one in row["measurements"]),
        parity=tuple(_parity(one) for one in row["parity"]),
        layers=tuple(LayerTime(**one) for one in row["layers"]),
        layers_note=row["layers_note"],
        turns=tuple(row["turns"]),
        placements=tuple(Placement(**one) for one in row.get("placements", ())),
        told=tuple(row.get("told", ())),
    )


def _measurement(row: dict[str, Any]) -> Measurement:
    interval = row["interval"]
    return Measurement(**{**row, "interval": None if interval is None else (interval[0], interval[1])})


def _parity(row: dict[str, Any]) -> OutputParity:
    numbers = {name: float(row[name]) for name in ("sqnr_db", "cosine", "max_abs")}
    return OutputParity(**{**row, **numbers, "top1": None if row["top1"] is None else float(row["top1"])})

"""What a fleet took of a bundle, as measurements: `edgekit.measured`, version 1, which drift writes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edgekit._budget import METRICS
from edgekit._bundle import check_schema, load_schema
from edgekit._profile import ArtifactProfile, Profile, budget_figures, find_measurement
from edgekit._results import Measurement
from edgekit._strict_json import read_json
from edgekit.errors import BundleError, FieldError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgekit._values import Artifact

SCHEMA_FILE = "measured.schema.json"
_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Counted:
    """By what a model is known again: multiply-accumulates and numbers of weights of its float graph."""

    macs: int
    weights: int


@dataclass(frozen=True)
class FieldFigures:
    """What devices of one kind took. `device`, `target`: what the bundle was made for.

    devices: how many were counted. work: by component; None where its sizes were open. artifacts: their
    measurements, under the names that a profile gives them.
    """

    bundle: str
    device: str
    target: str
    devices: int
    work: Mapping[str, Counted | None]
    artifacts: tuple[ArtifactProfile, ...]

    @property
    def place(self) -> str:
        """As a profile says where it ran."""
        return f"{self.devices} device{'s' if self.devices > 1 else ''} in the field"

    def find(self, component: str, variant: str, name: str) -> Measurement | None:
        """One figure of one artifact."""
        for artifact in self.artifacts:
            if (artifact.component, artifact.variant) == (component, variant):
                return find_measurement(artifact, name)
        return None

    def budget(self, artifacts: Sequence[Artifact]) -> tuple[Measurement, ...]:
        """What it says of each budget metric of a bundle, as a profile of its first variants would.

        UsageError where it lacks one of them.
        """
        offered: dict[str, str] = {}
        for one in artifacts:
            offered.setdefault(one.component, one.variant)
        mine = {(one.component, one.variant): one for one in self.artifacts}
        lacking = [f"{name} in {variant}" for name, variant in offered.items() if (name, variant) not in mine]
        if lacking:
            raise UsageError(
                f"the field file of bundle {self.bundle[:12]} has nothing of {', '.join(lacking)}, which the "
                "bundle offers",
                fix="merge the files of devices that run it, or leave the file out",
            )
        chosen = tuple(mine[key] for key in offered.items())
        profile = Profile(
            bundle=self.bundle,
            target=self.target,
            device=self.device,
            place=self.place,
            facts={},
            matches=True,
            started="",
            conditions={},
            tools={},
            artifacts=chosen,
        )
        return budget_figures(profile, offered)


def measured_json(figures: FieldFigures) -> str:
    """The text of a file; sorted keys, so the same figures are the same bytes."""
    artifacts = [
        {
            "component": one.component,
            "variant": one.variant,
            "figures": [_figure(row, f"{one.component}/{one.variant}/") for row in one.measurements],
        }
        for one in figures.artifacts
    ]
    body = {
        "schema": "edgekit.measured",
        "version": 1,
        "bundle": figures.bundle,
        "device": figures.device,
        "target": figures.target,
        "devices": figures.devices,
        "work": {name: None if one is None else asdict(one) for name, one in figures.work.items()},
        "artifacts": artifacts,
    }
    return json.dumps(body, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"


def load_measured(path: Path) -> FieldFigures:
    """Read and check one; FieldError names the file and what is wrong in it."""
    try:
        data = read_json(path, _MOST_BYTES)
        check_schema(data, load_schema(SCHEMA_FILE), f"measurements '{path}'")
        return _read(data)
    except BundleError as error:
        raise FieldError(error.problem, fix="take the measured.json that `edgekit drift -o` wrote") from error
    except (OSError, ValueError) as error:
        raise FieldError(
            f"measurements '{path}' cannot be read ({error})",
            fix="take the measured.json that `edgekit drift -o` wrote",
        ) from error


def _figure(row: Measurement, prefix: str) -> dict[str, Any]:
    ends = None if row.interval is None else list(row.interval)
    name = row.metric.removeprefix(prefix)
    return {"name": name, "value": row.value, "unit": row.unit, "basis": row.basis, "interval": ends}


def _read(data: dict[str, Any]) -> FieldFigures:
    artifacts = [_read_artifact(row) for row in data["artifacts"]]
    names = [(one.component, one.variant) for one in artifacts]
    if len(set(names)) < len(names) or not {name for name, _ in names} <= set(data["work"]):
        raise ValueError("an artifact stands twice, or is of no component in `work`")
    work = {name: None if row is None else Counted(**row) for name, row in data["work"].items()}
    return FieldFigures(
        data["bundle"], data["device"], data["target"], data["devices"], work, tuple(artifacts)
    )


def _read_artifact(row: dict[str, Any]) -> ArtifactProfile:
    found = []
    for one in row["figures"]:
        if one["unit"] != METRICS[one["name"].partition("/")[0]]:
            raise ValueError(f"{one['name']} is not in {one['unit']}")
        if one["interval"] is not None and (
            len(one["interval"]) != 2 or one["interval"] != sorted(one["interval"])
        ):
            raise ValueError(f"the interval of {one['name']} is none")
        ends = None if one["interval"] is None else (one["interval"][0], one["interval"][1])
        metric = f"{row['component']}/{row['variant']}/{one['name']}"
        found.append(Measurement(metric, one["value"], one["unit"], "measured", one["basis"], ends))
    if len({one.metric for one in found}) < len(found):
        raise ValueError("a figure stands twice")
    return ArtifactProfile(row["component"], row["variant"], "", (), tuple(found))

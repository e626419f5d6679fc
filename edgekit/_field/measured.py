"""A fleet's latencies, power and energies as measurements of the kind of device that it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit._budget import METRICS
from edgekit._field_figures import Counted, FieldFigures
from edgekit._profile import ArtifactProfile
from edgekit._results import Measurement
from edgekit._work import Work

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgekit._bundle import Bundle
    from edgekit._field.fleet import Fleet, Watched

# Of fewer devices the tenth and the ninetieth percentile say nothing.
_LEAST_SPREAD = 5


def measure_fleet(fleet: Fleet, bundle: Bundle, least: float) -> FieldFigures | None:
    """Of each artifact the median over its devices of each one's own figure; None where nothing counts.

    Devices with fewer than `least` inferences do not count, and neither do monitors that named no variant
    where the bundle holds several.
    """
    groups: dict[tuple[str, str], list[tuple[str, Watched]]] = {}
    for (component, variant, device), watched in fleet.devices.items():
        known = [str(one.variant) for one in bundle.artifacts if one.component == component]
        meant = variant or (known[0] if len(known) == 1 else "")
        if meant and watched.latency_s.count >= least:
            groups.setdefault((component, meant), []).append((device, watched))
    if not groups:
        return None
    rows = {row["name"]: row for row in bundle.manifest["components"]}
    return FieldFigures(
        bundle=bundle.digest,
        device=bundle.manifest["device"]["name"],
        target=bundle.target,
        devices=len({device for some in groups.values() for device, _ in some}),
        work={name: _count(rows[name].get("work")) for name in dict.fromkeys(name for name, _ in groups)},
        artifacts=tuple(
            ArtifactProfile(*key, "", (), tuple(_figures("/".join(key), [one for _, one in some])))
            for key, some in groups.items()
        ),
    )


def _count(row: Mapping[str, Any] | None) -> Counted | None:
    if row is None:
        return None
    work = Work(**row)
    return Counted(work.macs, work.weights)


def _figures(place: str, devices: Sequence[Watched]) -> Iterator[Measurement]:
    found: dict[str, list[float]] = {}
    for watched in devices:
        for name, value in _own(watched):
            found.setdefault(name, []).append(value)
    count = sum(one.inferences for one in devices)
    for name, values in found.items():
        quantity = name.partition("/")[0]
        many = f"median of {len(values)} devices" if len(values) > 1 else "1 device"
        idle = "" if quantity == "latency" else ", idle included"
        ends = np.quantile(values, (0.1, 0.9)).tolist() if len(values) >= _LEAST_SPREAD else None
        yield Measurement(
            f"{place}/{name}",
            float(np.median(values)),
            METRICS[quantity],
            "measured",
            f"field: {many}, {count} inferences{idle}",
            None if ends is None else (ends[0], ends[1]),
        )


def _own(watched: Watched) -> Iterator[tuple[str, float]]:
    """One device's figures, under the names that a profile gives them."""
    latency = watched.latency_s
    mean_s = watched.latency_total_s / latency.count
    yield "latency/mean", 1e3 * mean_s
    for rank in (50, 90, 99):
        yield f"latency/p{rank}", 1e3 * latency.quantile(rank / 100)
    if watched.energy_j.count:
        mean_j = watched.energy_total_j / watched.energy_j.count
        yield "energy/total", 1e3 * mean_j
        if mean_s:
            yield "power/mean", mean_j / mean_s

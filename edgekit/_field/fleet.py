"""Many field files as one: a sketch for each tensor of all devices, and the times of each device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgekit._field.read_field import list_fields, read_field
from edgekit._monitor.device.sketch import Sketch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgekit._bundle import Bundle
    from edgekit._field.read_field import Field
    from edgekit._values import Progress


@dataclass
class Watched:
    """One artifact on one device, over all of its files."""

    inferences: int = 0
    latency_s: Sketch = field(default_factory=lambda: Sketch(seed=0))
    energy_j: Sketch = field(default_factory=lambda: Sketch(seed=0))
    latency_total_s: float = 0.0
    energy_total_j: float = 0.0


@dataclass
class Seen:
    """One component on all devices: sketches by tensor, and how many inferences they are of."""

    inputs: dict[str, Sketch] = field(default_factory=dict)
    outputs: dict[str, Sketch] = field(default_factory=dict)
    inner: dict[str, Sketch] = field(default_factory=dict)
    sketched: int = 0


@dataclass
class Fleet:
    """components: by name. devices: by component, variant and device."""

    files: int = 0
    components: dict[str, Seen] = field(default_factory=dict)
    devices: dict[tuple[str, str, str], Watched] = field(default_factory=dict)


def merge_fleet(given: Sequence[Path], bundle: Bundle, progress: Progress) -> Fleet:
    """Every file merged, one in memory at a time; FieldError for the first that cannot be."""
    fleet = Fleet()
    paths = list(list_fields(given))
    for path in paths:
        _merge(read_field(path, bundle), fleet)
        fleet.files += 1
        progress("merge field files", fleet.files, len(paths))
    return fleet


def _merge(one: Field, fleet: Fleet) -> None:
    seen = fleet.components.setdefault(one.component, Seen())
    seen.sketched += one.sketched
    for merged, sketches in (
        (seen.inputs, one.inputs),
        (seen.outputs, one.outputs),
        (seen.inner, one.inner),
    ):
        for name, sketch in sketches.items():
            merged.setdefault(name, Sketch(seed=0)).merge(sketch)
    watched = fleet.devices.setdefault((one.component, one.variant, one.device), Watched())
    watched.inferences += one.inferences
    if one.latency_s is not None:
        watched.latency_s.merge(one.latency_s)
        watched.latency_total_s += one.latency_total_s
    if one.energy_j is not None:
        watched.energy_j.merge(one.energy_j)
        watched.energy_total_j += one.energy_total_j

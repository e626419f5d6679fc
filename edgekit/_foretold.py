"""What is predicted of a bundle: the toolchain's own figures, and of the rest what `estimate` would say."""

from __future__ import annotations

from fnmatch import fnmatchcase
from math import prod
from typing import TYPE_CHECKING, Any

from edgekit._estimate_scenario import CACHE_BYTES, CountedPart, estimate_request
from edgekit._latency import Question
from edgekit._predict import foretell, read_work, tellable
from edgekit._results import Measurement
from edgekit.errors import UsageError
from edgekit.registry import load_devices, load_targets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit._bundle import Bundle
    from edgekit._scenario import Scenario
    from edgekit._values import Device
    from edgekit.target import Target


def foretell_bundle(bundle: Bundle, target: Target, device: Device) -> tuple[Measurement, ...]:
    """Of the variant that was asked for first; nothing of several components (see `foretell_request`)."""
    parts = bundle.manifest["components"]
    if len(parts) != 1:
        return ()
    first = bundle.artifacts[0]
    theirs = target.estimates(first, bundle.folder)
    told = {figure.metric for figure in theirs}
    ours = foretell(parts[0].get("work"), first, device)
    return (*theirs, *(figure for figure in ours if figure.metric not in told))


def foretell_known(bundle: Bundle) -> tuple[Measurement, ...]:
    """`foretell_bundle` for the device and target that the manifest names, where both are known here."""
    device, target = _known_device(bundle), load_targets().get(bundle.target)
    return () if device is None or target is None else foretell_bundle(bundle, target, device)


def foretell_request(
    bundle: Bundle, scenario: Scenario, latencies: Mapping[tuple[str, str], float]
) -> tuple[Measurement, ...]:
    """What one request of a scenario takes, by the variant of each component that was asked for first.

    latencies: ms of one run by component and variant, where a profile measured it. Known figures only, and
    none where a component's work is not; as for one component, no latency of what lies partly on the CPU.
    UsageError for a scenario of other components.
    """
    rows = {row["name"]: row for row in bundle.manifest["components"]}
    if set(rows) != set(scenario.parts):
        raise UsageError(
            f"scenario '{scenario.path}' is of {', '.join(sorted(scenario.parts))}, and the bundle of "
            f"{', '.join(sorted(rows))}",
            fix="give the scenario.toml of the folder that was converted",
        )
    device = _known_device(bundle)
    if device is None:
        return ()
    first = {one.component: one for one in reversed(bundle.artifacts)}
    parts: dict[str, CountedPart] = {}
    for name, row in rows.items():
        work, variant = read_work(row.get("work"), first[name]), first[name].variant
        if work is None:
            return ()
        cache = _cache_bytes(row, scenario.parts[name].cache)
        measured = _measured(latencies.get((name, variant)), device)
        parts[name] = CountedPart(work, variant, cache, measured=measured)
    some = next(iter(parts.values()))
    made = estimate_request(scenario, parts, device, Question(some.work, some.precision))
    return tellable(made.figures, first.values())


def _known_device(bundle: Bundle) -> Device | None:
    devices = {device.name: device for device in load_devices(load_targets().values()).values()}
    return devices.get(bundle.manifest["device"]["name"])


def _measured(latency: float | None, device: Device) -> dict[str, Measurement]:
    basis = "a profile of this bundle"
    return {} if latency is None else {device.name: Measurement("latency", latency, "ms", "measured", basis)}


def _cache_bytes(component: Mapping[str, Any], patterns: tuple[str, ...]) -> int:
    """Of the inputs that hold the KV cache, at the sizes they were converted for."""
    held = [
        row["shape"]
        for row in component["inputs"]
        if any(fnmatchcase(row["name"], pattern) for pattern in patterns)
    ]
    return sum(prod(shape) * CACHE_BYTES for shape in held if all(isinstance(size, int) for size in shape))

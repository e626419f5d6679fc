"""What is predicted of a bundle: the toolchain's own figures, and of the rest what `estimate` would say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._predict import foretell
from edgekit.registry import load_devices, load_targets

if TYPE_CHECKING:
    from edgekit._bundle import Bundle
    from edgekit._results import Measurement
    from edgekit._values import Device
    from edgekit.target import Target


def foretell_bundle(bundle: Bundle, target: Target, device: Device) -> tuple[Measurement, ...]:
    """Of the variant that was asked for first; nothing of several components.

    How often a request runs each of those, only its scenario says.
    """
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
    targets = load_targets()
    devices = {device.name: device for device in load_devices(targets.values()).values()}
    device, target = devices.get(bundle.manifest["device"]["name"]), targets.get(bundle.target)
    return () if device is None or target is None else foretell_bundle(bundle, target, device)

"""The short listings: targets, devices, gaps, the doctor's findings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.registry import software_words
from edgekit.reports.convert_report import gap_line
from edgekit.reports.terminal import clean, size, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._doctor import DoctorReport
    from edgekit._values import Device, Gap
    from edgekit.target import Target


def render_targets(targets: Sequence[Target], devices: Sequence[Device]) -> str:
    """Each toolchain with what it makes, whether it is ready here, and its devices."""
    rows = []
    for target in targets:
        own = [device.name for device in devices if device.toolchain == target.name]
        rows.append((target.name, target.summary, target.missing() or "ready", f"{len(own)} devices"))
    listing = table(("target", "what it makes", "here", "knows"), rows)
    return f"{listing}\n\nedgekit devices lists the devices and aliases that --target takes."


def render_devices(devices: Sequence[Device]) -> str:
    """Each device with its aliases, toolchain and software (the one in use first)."""
    rows = []
    for device in devices:
        others = [name for name in device.versions if name != device.software]
        rows.append(
            (device.name, ", ".join(device.aliases), device.toolchain, ", ".join([device.software, *others]))
        )
    listing = table(("device", "aliases", "toolchain", "software (first: default)"), rows)
    return f"{listing}\n\n--target takes a device, device@software, an alias or a toolchain's name."


def render_device(device: Device) -> str:
    """One device with every cited figure, its source and how far it is trusted."""
    lines = [clean(f"{device.name}: {device.title}"), clean(f"software: {software_words(device)}")]
    lines.append(clean(f"aliases: {', '.join(device.aliases) or 'none'}"))
    lines.append(
        clean(f"other software: {', '.join(v for v in device.versions if v != device.software) or 'none'}")
    )
    modes = {f"power mode {name}": figure for name, figure in device.power_modes.items()}
    if device.figures or modes:
        rows = [
            (name, f"{figure.value:.6g} {figure.unit}", figure.confidence, figure.source)
            for name, figure in {**device.figures, **modes}.items()
        ]
        lines.append(table(("figure", "value", "confidence", "source"), rows, right=(1,)))
    lines += [clean(f"{name}: {fact}") for name, fact in device.facts.items()]
    lines += [clean(f"note: {note}") for note in device.notes]
    return "\n".join(lines)


def render_gaps(gaps: Sequence[Gap], asked: Sequence[str]) -> str:
    """Every gap on its own line below its target, or that `asked` have none."""
    if not gaps:
        return clean(f"no gaps: {', '.join(asked)}")
    lines = []
    for name in dict.fromkeys(gap.target for gap in gaps):
        own = [gap for gap in gaps if gap.target == name]
        errors = sum(gap.severity == "error" for gap in own)
        lines.append(clean(f"{name}: {errors} that stop the build, {len(own) - errors} warnings"))
        lines += [f"  {gap_line(gap)}" for gap in own]
    return "\n".join(lines)


def render_doctor(report: DoctorReport) -> str:
    """The installation in three tables, and the commands that mend it."""
    head = f"edgekit {report.edgekit}, Python {report.python}, {report.machine}"
    packages = [
        (item.name, item.version or "missing", item.wanted, item.extra or "always", item.fix or "ok")
        for item in report.dependencies
    ]
    targets = [
        (item.name, f"{item.distribution} {item.version}", item.problem or item.missing or "ok")
        for item in report.targets
    ]
    tools = [(name, where or "not on PATH") for name, where in report.tools.items()]
    blocks = [
        clean(head),
        table(("package", "installed", "wanted", "needed for", "state or command"), packages),
        table(("target", "from", "state or command"), targets),
        table(("tool", "found at"), tools) + "\n(tools are only facts: nothing above needs them)",
        clean(f"cache: {report.cache_folder} ({size(report.cache_bytes)})"),
    ]
    blocks += (
        ["\n".join(f"problem: {clean(problem)}" for problem in report.problems)] if report.problems else []
    )
    return "\n\n".join(blocks)

"""Measurements from the field for an estimate: whose they are, and whether they are of what is asked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._field_figures import load_measured
from edgekit._latency import RUNTIMES
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgekit._field_figures import Counted, FieldFigures
    from edgekit._latency import Question
    from edgekit._results import Measurement
    from edgekit._values import Device
    from edgekit._work import Work

# Passes that targets need may move a count a little; another model or size moves it more.
_SAME = 0.01


@dataclass
class FieldMeasured:
    """latency: component -> device -> one run of it there. power, energy: device -> of a single model."""

    latency: dict[str, dict[str, Measurement]] = field(default_factory=dict)
    power: dict[str, Measurement] = field(default_factory=dict)
    energy: dict[str, Measurement] = field(default_factory=dict)


def read_field(
    files: str | Path | Sequence[str | Path],
    asked: Mapping[str, Question],
    known: Mapping[str, Device],
) -> FieldMeasured:
    """What the files say of the components that are asked for; of a single model, `asked` has the key "".

    UsageError for a file that says nothing of any of them: of another model, size, precision or runtime, or
    of no one device.
    """
    found = FieldMeasured()
    for path in [files] if isinstance(files, str | Path) else files:
        figures = load_measured(Path(path))
        device = _find_device(figures, path, known)
        matched = [
            _take(found, figures, (name, component), device, question)
            for name, question in asked.items()
            if (component := _match(figures, path, name, question)) is not None
        ]
        if not any(matched):
            raise _refusal(path, figures, asked)
    return found


def _find_device(figures: FieldFigures, path: str | Path, known: Mapping[str, Device]) -> Device:
    device = known.get(figures.device)
    if device is None:
        raise UsageError(
            f"measurements '{path}' are of device '{figures.device}', which is unknown here",
            fix="put its TOML into the folder that EDGEKIT_DEVICES names",
        )
    if device.name.startswith("generic-"):
        raise UsageError(
            f"measurements '{path}' are of '{device.name}', which is no one device: they predict nothing",
            fix="convert for the device that the fleet is made of, and let its monitors name that bundle",
        )
    return device


def _match(figures: FieldFigures, path: str | Path, name: str, question: Question) -> str | None:
    """The component that is the one asked for; UsageError where a model of no name is like several."""
    names = [name] if name else list(figures.work)
    like = [one for one in names if _same(figures.work.get(one), question.work)]
    if len(like) > 1:
        raise UsageError(
            f"measurements '{path}' are of {' and '.join(like)}, which are alike: as many MACs and weights "
            "as the model, so which of them it is can't be told",
            fix="estimate a scenario whose components have these names",
        )
    return like[0] if like else None


def _same(counted: Counted | None, work: Work) -> bool:
    if counted is None:
        return False
    pairs = ((counted.macs, work.macs), (counted.weights, work.weights))
    return all(abs(one - other) <= _SAME * max(one, other) for one, other in pairs)


def _take(
    found: FieldMeasured,
    figures: FieldFigures,
    names: tuple[str, str],
    device: Device,
    question: Question,
) -> bool:
    """Whether the file has a latency of that component as it is asked for; it is kept in `found`."""
    name, component = names
    latency = figures.find(component, question.precision, "latency/mean")
    target = RUNTIMES.get(figures.target, figures.target)
    if latency is None or question.runtime_on(device) != target:
        return False
    mine = found.latency.setdefault(name, {})
    if device.name in mine:
        raise UsageError(
            f"two files have measured {component} on {device.name}",
            fix="merge the fleet with one `edgekit drift`",
        )
    mine[device.name] = _named(latency, "latency")
    for metric, into, own in (
        ("power/mean", found.power, "power"),
        ("energy/total", found.energy, "energy"),
    ):
        row = figures.find(component, question.precision, metric)
        if row is not None and not name:
            into[device.name] = _named(row, own)
    return True


def _named(row: Measurement, metric: str) -> Measurement:
    return replace(row, metric=metric, basis=f"measured: {row.basis}")


def _refusal(path: str | Path, figures: FieldFigures, asked: Mapping[str, Question]) -> UsageError:
    counts = [
        f"{name} of {one.macs / 1e6:.4g} M MACs and {one.weights} weights" if one else f"{name} of open sizes"
        for name, one in figures.work.items()
    ]
    ran = ", ".join(f"{one.component} in {one.variant}" for one in figures.artifacts)
    wanted = [
        f"{name or 'the model'} has {one.work.macs / 1e6:.4g} M MACs and {one.work.weights} weights, in "
        f"{one.precision}"
        for name, one in asked.items()
    ]
    return UsageError(
        f"measurements '{path}' are of {'; '.join(counts)} ({ran}, {figures.target}), and "
        f"{'; '.join(wanted)}: they are not of what is asked",
        fix="give the model, --shape, --precision and --runtime that the fleet runs, or leave the file out",
    )

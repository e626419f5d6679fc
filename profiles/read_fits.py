"""Reads the fitted coefficients of profiles/fits; refuses keys it does not know and broken bands."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgekit.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).parent / "fits"
Made = TypeVar("Made", bound="Fit")


@dataclass(frozen=True)
class Fit:
    """A band around a prediction: 80 % of held-out points lay between low and high times it.

    points: measured ones behind it. error, coverage: of held-out points (median of |predicted / measured
    - 1|; share in the band); width: high over low; source, fitted: of the data, and when.
    """

    low: float
    high: float
    points: int
    error: float
    coverage: float
    width: float
    source: str
    fitted: str


@dataclass(frozen=True)
class SiblingFit(Fit):
    """Latency here over latency on a sibling, as a multiple of the ratio of the two devices' own fits."""

    scale: float


@dataclass(frozen=True)
class FamilyFit(Fit):
    """Latency as a sum: ms[term] times each term of the work; least and most G MACs of the graphs in it.

    likeness: whether what similar models were off by is taken in.
    """

    device: str
    runtime: str
    precision: str
    least_gmacs: float
    most_gmacs: float
    likeness: bool
    ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CapabilityFit(Fit):
    """Latency on any GPU of one compute capability: what a layer costs, and MACs at `share` of its peak.

    layer_mb: a layer takes as long as moving so many MB. A share over 1: tensor cores pass the fp32 peak.
    """

    capability: str
    precision: str
    layer_mb: float
    share: float
    least_gmacs: float
    most_gmacs: float


@dataclass(frozen=True)
class DecodeFit(Fit):
    """One decode step: layer_ms a layer that has MACs, and bytes at `share` (0..1) of the memory bandwidth.

    device: "" for any of the family.
    """

    family: str
    device: str
    precision: str
    layer_ms: float
    share: float


@dataclass(frozen=True)
class PrefillFit(Fit):
    """One run over a prompt: layer_ms a layer that has MACs, and gmac_ms a G MAC."""

    family: str
    device: str
    precision: str
    layer_ms: float
    gmac_ms: float


@dataclass(frozen=True)
class CpuFit(Fit):
    """Nodes on a phone's CPU: gmac_ms a G MAC, moved_ms a M numbers moved or converted, op_ms a node."""

    precision: str
    gmac_ms: float
    moved_ms: float
    op_ms: float


@dataclass(frozen=True)
class PowerFit(Fit):
    """A board's power between idle and load: `base` (0..1) of what the load adds whenever it computes.

    The rest grows with memory traffic, up to `full` (0..1) of the bandwidth. low, high: a rule.
    """

    runtime: str
    base: float
    full: float


@dataclass(frozen=True)
class Likeness:
    """How far fitted models of one precision were off, at their places: `graphs` holds (place, weight).

    A place is what `describe` gives, less `means`, over `spreads`; `reach` is the kernel's width.
    """

    means: tuple[float, ...]
    spreads: tuple[float, ...]
    reach: float
    graphs: tuple[tuple[tuple[float, ...], float], ...]


@cache
def likeness_fits() -> dict[str, Likeness]:
    """Precision -> likeness of the Qualcomm family."""
    text = (FOLDER / "likeness.toml").read_text(encoding="utf-8")
    return {
        name: Likeness(
            tuple(row["means"]),
            tuple(row["spreads"]),
            row["reach"],
            tuple((tuple(at), weight) for at, weight in zip(row["places"], row["weights"], strict=True)),
        )
        for name, row in tomllib.loads(text).items()
        if isinstance(row, dict)
    }


@cache
def sibling_fits() -> dict[tuple[str, str, str], SiblingFit]:
    """(from device, to device, precision) -> how latency carries over between their NPUs."""
    shared, rows = _rows("siblings")
    return {
        (row.pop("from"), row.pop("to"), row.pop("precision")): make_fit(
            SiblingFit, row | shared, "siblings.toml"
        )
        for row in rows
    }


@cache
def family_fits() -> dict[tuple[str, str, str], FamilyFit]:
    """(device, runtime, precision) -> its latency fit; "" for a device stands for its whole toolchain."""
    found = {}
    for name in ("qualcomm", "jetson"):
        shared, rows = _rows(name)
        for row in rows:
            fit = make_fit(FamilyFit, shared | row, f"{name}.toml")
            found[fit.device, fit.runtime, fit.precision] = fit
    return found


@cache
def capability_fits() -> dict[tuple[str, str], CapabilityFit]:
    """(compute capability, precision) -> how GPUs of one design, of any size and clock, compute."""
    shared, rows = _rows("capability")
    fits = [make_fit(CapabilityFit, shared | row, "capability.toml") for row in rows]
    return {(fit.capability, fit.precision): fit for fit in fits}


@cache
def decode_fits() -> dict[tuple[str, str, str], DecodeFit]:
    """(family, device or "", precision) -> what a decode step takes."""
    shared, rows = _rows("decode")
    fits = [make_fit(DecodeFit, shared | row, "decode.toml") for row in rows]
    return {(fit.family, fit.device, fit.precision): fit for fit in fits}


@cache
def prefill_fits() -> dict[tuple[str, str], PrefillFit]:
    """(device, precision) -> what a run over a prompt takes."""
    shared, rows = _rows("prefill")
    fits = [make_fit(PrefillFit, shared | row, "prefill.toml") for row in rows]
    return {(fit.device, fit.precision): fit for fit in fits}


@cache
def power_fits() -> dict[str, PowerFit]:
    """Runtime -> how a board's power follows from what it computes."""
    shared, rows = _rows("power")
    fits = [make_fit(PowerFit, shared | row, "power.toml") for row in rows]
    return {fit.runtime: fit for fit in fits}


@cache
def cpu_fits() -> dict[str, CpuFit]:
    """Precision (int8, or fp32 for all floats) -> what nodes on a CPU take."""
    shared, rows = _rows("cpu")
    fits = [make_fit(CpuFit, shared | row, "cpu.toml") for row in rows]
    return {fit.precision: fit for fit in fits}


def make_fit(kind: type[Made], row: Mapping[str, Any], where: str) -> Made:
    """The checked row; TargetError names a key that is unknown or missing, and a band that is none."""
    wrong = sorted({item.name for item in fields(kind)} ^ row.keys())
    if wrong:
        raise TargetError(f"{where}: '{wrong[0]}' is unknown or missing", fix="run scripts/fit again")
    fit = kind(**row)
    if not 0 < fit.low <= fit.high:
        raise TargetError(f"{where}: {fit.low}..{fit.high} is no band", fix="run scripts/fit again")
    return fit


def _rows(name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What all rows of a file share, and its rows."""
    table = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    rows = table.pop("fit")
    return table, rows

"""What a year of a fleet costs on devices and on endpoints, by a report and the user's own prices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgekit._recipe_file import read_table
from edgekit._recipe_values import refuse_unknown
from edgekit._strict_json import is_number, read_json
from edgekit.errors import BundleError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_DAYS = 365
_HOURS = 24 * _DAYS
_MJ_PER_KWH = 3.6e9
_MOST_BYTES = 64 << 20
_TABLES = ("currency", "fleet", "energy", "hardware", "endpoint")
_KEYS = {
    "fleet": ("devices", "inferences_per_day"),
    "energy": ("per_kwh",),
    "hardware": ("price", "years"),
    "endpoint": ("per_hour", "count", "per_million"),
}


@dataclass(frozen=True)
class Prices:
    """A price table. devices: how many; inferences: of one device a day; per_kwh: of energy.

    hardware: device -> (price of one, years it serves). endpoints: name -> its price keys.
    """

    currency: str
    devices: float
    inferences: float
    per_kwh: float
    hardware: Mapping[str, tuple[float, float]]
    endpoints: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class YearCost:
    """One way to serve the fleet for a year; a total is None where a part is unknown."""

    name: str
    where: Literal["device", "endpoint"]
    energy: float | None
    hardware: float | None
    service: float | None
    total: float | None
    basis: str


@dataclass(frozen=True)
class FleetCost:
    """All ways, devices first."""

    currency: str
    requests: float
    rows: tuple[YearCost, ...]


def cost_fleet(report: Path, prices: Path) -> FleetCost:
    """The cost of a year, from a report.json and a price table. Raises UsageError and BundleError."""
    table = load_prices(prices)
    requests = table.devices * table.inferences * _DAYS
    rows = [_on_device(name, energy, table) for name, energy in _read_energies(report).items()]
    rows += [_on_endpoint(name, price, requests) for name, price in table.endpoints.items()]
    return FleetCost(table.currency, requests, tuple(rows))


def _on_device(name: str, figure: tuple[float, str] | None, prices: Prices) -> YearCost:
    """Energy is the inferences' alone: what a device draws while it idles no report knows."""
    energy = hardware = None
    told = ["energy of an inference: unknown, profile it on the device"]
    if figure is not None:
        kwh = figure[0] * prices.inferences * _DAYS * prices.devices / _MJ_PER_KWH
        energy = kwh * prices.per_kwh
        told = [f"{figure[0]:.4g} mJ an inference, {figure[1]}; {kwh:.4g} kWh, idle time not counted"]
    if name in prices.hardware:
        price, years = prices.hardware[name]
        hardware = prices.devices * price / years
        told.append(f"{price:g} a device over {years:g} years")
    else:
        told.append(f"hardware: unknown, add [hardware.{name}] to the prices")
    total = None if energy is None or hardware is None else energy + hardware
    return YearCost(name, "device", energy, hardware, None, total, "; ".join(told))


def _on_endpoint(name: str, price: Mapping[str, float], requests: float) -> YearCost:
    hours = price.get("per_hour", 0.0) * price.get("count", 1.0) * _HOURS
    calls = price.get("per_million", 0.0) * requests / 1e6
    told = [f"{price['count']:g} machines at {price['per_hour']:g} an hour"] if "per_hour" in price else []
    told += [f"{price['per_million']:g} a million requests"] if "per_million" in price else []
    return YearCost(name, "endpoint", None, None, hours + calls, hours + calls, "; ".join(told))


def load_prices(path: Path) -> Prices:
    """The user's price table; UsageError for an unknown or missing key and what is no positive number."""
    table = read_table(path, "prices")
    refuse_unknown(table, _TABLES, f"table in '{path.name}':")
    currency = table.get("currency")
    if not isinstance(currency, str) or not currency:
        raise UsageError(f"prices '{path}' name no currency", fix='write currency = "EUR"')
    fleet, energy = _row(table.get("fleet"), "fleet", path), _row(table.get("energy"), "energy", path)
    hardware = {name: _row(row, "hardware", path) for name, row in _rows(table, "hardware", path).items()}
    endpoints = {name: _row(row, "endpoint", path) for name, row in _rows(table, "endpoint", path).items()}
    for name, row in endpoints.items():
        if not ({"per_hour", "per_million"} & set(row)) or ("per_hour" in row) != ("count" in row):
            raise UsageError(
                f"prices '{path}': endpoint '{name}' has no whole price",
                fix="give per_hour with count (machines that run all year), per_million (requests), or both",
            )
    return Prices(
        currency=currency,
        devices=fleet["devices"],
        inferences=fleet["inferences_per_day"],
        per_kwh=energy["per_kwh"],
        hardware={name: (row["price"], row["years"]) for name, row in hardware.items()},
        endpoints=endpoints,
    )


def _rows(table: Mapping[str, Any], kind: str, path: Path) -> Mapping[str, Any]:
    rows = table.get(kind, {})
    if not isinstance(rows, dict):
        raise UsageError(
            f"prices '{path}': {kind} is no table", fix=f"write [{kind}.NAME] and its keys below it"
        )
    return rows


def _row(row: object, kind: str, path: Path) -> dict[str, float]:
    """Positive numbers by key; an endpoint alone may leave keys out."""
    known = _KEYS[kind]
    if not isinstance(row, dict):
        raise UsageError(
            f"prices '{path}': {kind} is no table", fix=f"write {', '.join(known)} below [{kind}]"
        )
    refuse_unknown(row, known, f"key of {kind} in '{path.name}':")
    for name in known if kind != "endpoint" else row:
        value = row.get(name)
        if not is_number(value) or not value > 0:
            raise UsageError(
                f"prices '{path}': {kind} {name} = {value!r} is no positive number", fix="write one"
            )
    return {name: float(value) for name, value in row.items()}


def _read_energies(path: Path) -> dict[str, tuple[float, str] | None]:
    """Device -> mJ of one inference and where that comes from; None where the report knows none."""
    try:
        data = read_json(path, _MOST_BYTES)
        if (data["schema"], data["version"]) != ("edgekit.report", 1):
            raise ValueError("schema")
        return {row["device"]: _energy(row["figures"]) for row in data["devices"]}
    except OSError as error:
        raise UsageError(
            f"report '{path}' cannot be read ({error.strerror})", fix="name a report.json of `edgekit report`"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"'{path}' is no report.json of edgekit", fix="write it with `edgekit report`"
        ) from error


def _energy(figures: list[Mapping[str, Any]]) -> tuple[float, str] | None:
    for row in figures:
        if row["metric"] == "energy" and row["value"] is not None:
            if row["unit"] != "mJ" or not is_number(row["value"]) or row["value"] < 0:
                raise ValueError("energy")
            return float(row["value"]), f"{row['kind']} ({row['basis']})"
    return None

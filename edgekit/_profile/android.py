"""What describe.sh and sample.sh print on a device without Python: its facts, and its sensors as samples."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Samples = list[tuple[float, dict[str, float]]]

_MOST_TEXT = 400
_STATUS = {"1": "unknown", "2": "charging", "3": "discharging", "4": "not charging", "5": "full"}
_SOURCE = re.compile(r"N (k\d{1,3}) (mC|kHz|uV|uA) (.+)")
_PAIR = re.compile(r"(k\d{1,3})=(-?\d{1,18})")
# `   [VSYS_PWR_MODEM]:Modem     123456.78 mWs` of power.stats 2.0; older ones leave the subsystem out.
_RAIL = re.compile(r"^\s*\[?([A-Za-z0-9_.-]{1,60})\]?(?::\S+)?\s+([0-9]+(?:\.[0-9]+)?) mWs")
# A thermal zone that gives degrees or tenths instead of thousandths would read as nearly zero: left out.
_LEAST_MC, _MOST_MC = 1000.0, 150_000.0
# Below 5 mA no phone runs a benchmark: such a fuel gauge gives other units than the microamperes of Linux.
_LEAST_UA = 5000.0


def facts_of(text: str) -> dict[str, str]:
    """{fact: text} of describe.sh; the battery's state becomes `battery` and `supply`."""
    rows = [line.partition("=") for line in text.splitlines()]
    found = {
        name: _clean(value)
        for name, equals, value in rows
        if equals and name.isidentifier() and value.strip()
    }
    battery = found.pop("battery", "")
    return found | parse_battery(battery)


def parse_battery(text: str) -> dict[str, str]:
    """`battery` and `supply` (battery, or what powers the device) of `dumpsys battery`, in lines or one."""
    status = re.search(r"\bstatus: (\d)", text)
    if status is None:
        return {}
    said = [_STATUS.get(status[1], "unknown")]
    for name, unit, factor in (("level", "%", 1.0), ("voltage", "mV", 1.0), ("temperature", "°C", 0.1)):
        match = re.search(rf"(?<![A-Za-z] )\b{name}: (-?\d+)", text)
        if match is not None:
            said.append(f"{float(match[1]) * factor:g} {unit}")
    plugs = re.findall(r"\b(AC|USB|Wireless|Dock) powered: true", text)
    on_battery = not plugs and status[1] == "3"
    supply = (
        "battery" if on_battery else f"plugged in ({', '.join(plugs) or _STATUS.get(status[1], 'unknown')})"
    )
    return {"battery": ", ".join(said), "supply": supply}


def samples_of(lines: Sequence[str], facts: Mapping[str, str]) -> tuple[Samples, tuple[str, ...]]:
    """(time in s, {name: value}) samples and the names of all meters, from sample.sh's lines.

    Lines that are none are left out. The fuel gauge counts only while the device runs on its battery.
    """
    sources: dict[str, tuple[str, str]] = {}
    samples: Samples = []
    for line in lines:
        if (source := _SOURCE.fullmatch(line.strip())) is not None:
            sources[source[1]] = (source[2], _plain(source[3]))
        elif line.startswith("S ") and (at := _number(line.split()[1:2])) is not None:
            samples.append((at, dict(_named(_PAIR.findall(line), sources))))
    on_battery = facts.get("supply") == "battery" or "supply" not in facts
    _add_battery(samples, count=on_battery)
    samples += _rails(lines)
    samples.sort(key=lambda sample: sample[0])
    return samples, tuple(sorted({name for _, values in samples for name in values}))


def _named(
    pairs: Sequence[tuple[str, str]], sources: Mapping[str, tuple[str, str]]
) -> Iterator[tuple[str, float]]:
    for key, text in pairs:
        kind, name = sources.get(key, ("", ""))
        value = float(text)
        if kind == "mC" and _LEAST_MC <= value <= _MOST_MC:
            yield f"temperature/{name}_C", value / 1e3
        elif kind == "kHz":
            yield f"clock/{name}_MHz", value / 1e3
        elif kind in ("uV", "uA"):
            yield kind, value


def _add_battery(samples: Samples, *, count: bool) -> None:
    """Voltage times current becomes `power/battery_W`, where it is one and in the kernel's units."""
    known = all(abs(values.get("uA", math.inf)) >= _LEAST_UA for _, values in samples)
    for _, values in samples:
        volts, amperes = values.pop("uV", None), values.pop("uA", None)
        if count and known and volts is not None and amperes is not None:
            values["power/battery_W"] = abs(volts * amperes) * 1e-12


def _rails(lines: Sequence[str]) -> Samples:
    """Power of each ODPM rail between two readings of its energy counter."""
    before: dict[str, tuple[float, float]] = {}
    at: float | None = None
    found: Samples = []
    for line in lines:
        if line.startswith("P "):
            at = _number(line.split()[1:2])
            if at is not None:
                found.append((at, {}))
        elif at is not None and (rail := _RAIL.match(line)) is not None:
            name, energy = _plain(rail[1]), float(rail[2])
            if name in before and at > before[name][0] and energy >= before[name][1]:
                found[-1][1][f"power/{name}_W"] = (energy - before[name][1]) / 1e3 / (at - before[name][0])
            before[name] = (at, energy)
    return [sample for sample in found if sample[1]]


def _number(words: Sequence[str]) -> float | None:
    try:
        value = float(words[0])
    except (IndexError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _plain(text: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-._" else "-" for sign in text)[:40]


def _clean(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text.strip()[:_MOST_TEXT])

"""Qualcomm's chips: which number and Hexagon architecture the compiler is to build for."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit._values import Device

# A generic device is built for one chip of each architecture that phones of these years have.
GENERIC = ("SM8550", "SM8650", "SM8750", "SM8850")


@dataclass(frozen=True)
class Chip:
    """One system on a chip; `fp16`: whether its HTP computes in float16 (v68 does not)."""

    name: str
    title: str
    soc_model: int
    htp_arch: int
    fp16: bool


@cache
def load_chips() -> Mapping[str, Chip]:
    """Every chip of chips.toml by its name."""
    table = tomllib.loads((Path(__file__).parent / "chips.toml").read_text(encoding="utf-8"))
    return {name: Chip(name, **row) for name, row in table.items() if isinstance(row, dict)}


def find_chip(name: str, asked_by: str) -> Chip:
    """UsageError for an unknown chip; `asked_by` names the option or the device that asks."""
    chips = load_chips()
    if name not in chips:
        near = get_close_matches(name.upper(), chips, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise UsageError(
            f"{asked_by} names the chip '{name}', of which no SoC number is known here",
            fix=f"{hint}known: {', '.join(chips)}",
        )
    return chips[name]


def chips_of(device: Device, asked: str) -> tuple[Chip, ...]:
    """The chips that the user named (`SM8550,SM8750`), else the device's own, else one an architecture."""
    if asked:
        names = [name.strip() for name in asked.split(",")]
        return tuple(find_chip(name, "qnn.chips") for name in dict.fromkeys(names))
    own = device.facts.get("chip")
    if own is None:
        return tuple(find_chip(name, device.name) for name in GENERIC)
    return (find_chip(own, f"device '{device.name}'"),)

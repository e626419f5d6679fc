"""What a target's own scripts print beside their figures: when each artifact ran, and times by layer."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from edgekit._device_tool import ToolTimes
from edgekit._profile.heard import Round

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgekit._profile.heard import Heard
    from edgekit._profile.job import Trip

_MOST_ROWS = 100_000
_MOST_TEXT = 400


def take_rounds(heard: Heard, trip: Trip) -> None:
    """Put `rounds` (so that power is told apart) and `layers` of each printed JSON to their artifacts.

    Their latencies stand among the script's own measurements. Rows that are none are left out.
    """
    places = {(one.component, str(one.variant)): index for index, one in enumerate(trip.artifacts)}
    for printed in heard.printed:
        body = json.loads(printed)
        for row in _rows(body, "rounds"):
            index, numbers = _index(places, row), _numbers(row, ("start", "end", "count"))
            if index is not None and len(numbers) == 3 and numbers[0] < numbers[1] and numbers[2] >= 1:
                told = ToolTimes(int(numbers[2]), {})
                heard.workers[index].rounds.append(Round(numbers[0], numbers[1], [], 0, told=told))
        for row in _rows(body, "layers"):
            index, numbers = _index(places, row), _numbers(row, ("us",))
            if index is not None and numbers and isinstance(row.get("name"), str):
                name = "".join(sign if sign.isprintable() else "?" for sign in row["name"][:_MOST_TEXT])
                heard.workers[index].layers.append((name, "", numbers[0]))


def _index(places: Mapping[tuple[str, str], int], row: Mapping[str, Any]) -> int | None:
    return places.get((str(row.get("component")), str(row.get("variant"))))


def _numbers(row: Mapping[str, Any], names: Sequence[str]) -> list[float]:
    """The finite numbers, not below zero, under `names`; what is none is left out."""
    given = [row.get(name) for name in names]
    return [
        float(value)
        for value in given
        if isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value >= 0
    ]


def _rows(body: Any, name: str) -> list[dict[str, Any]]:
    rows = body.get(name, []) if isinstance(body, dict) else []
    return [row for row in rows[:_MOST_ROWS] if isinstance(row, dict)] if isinstance(rows, list) else []

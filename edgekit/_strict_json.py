"""What others wrote, read strictly: JSON with each key once, in files of a bounded size; finite numbers."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard

if TYPE_CHECKING:
    from pathlib import Path


def parse_json(text: str | bytes) -> Any:
    """The value of a text (bytes are UTF-8); ValueError where it is no JSON, or too deep to read."""
    try:
        given = text.decode("utf-8") if isinstance(text, bytes) else text
        return json.loads(given, object_pairs_hook=_unite, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_json(path: Path, most: int) -> Any:
    """The value of a file of at most `most` bytes; OSError or ValueError."""
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it is larger than {most >> 20} MiB")
    return parse_json(data)


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is finite and no larger than a float can be; texts of JSON and TOML may hold more."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _unite(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("a key stands twice")
    return row


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")

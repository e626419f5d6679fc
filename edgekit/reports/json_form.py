"""Every value of edgekit as JSON: one envelope with a schema and a version for all commands."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path

VERSION = 1


def document(command: str, **body: object) -> str:
    """The JSON text of one command's answer: `{"schema": "edgekit.<command>", "version": 1, ...}`."""
    envelope = {"schema": f"edgekit.{command}", "version": VERSION, **{k: plain(v) for k, v in body.items()}}
    return json.dumps(envelope, indent=2, ensure_ascii=True, allow_nan=False)


def plain(value: object) -> object:  # noqa: PLR0911 - one line a kind of value
    """A value of edgekit as JSON types: dataclasses and mappings as objects, sequences as arrays.

    Paths become text, and numbers JSON has not (inf, -inf, nan) become that word as text.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(str(item) for item in value)
    if callable(value):
        return f"{getattr(value, '__module__', '?')}:{getattr(value, '__qualname__', '?')}"
    raise TypeError(f"{type(value).__name__} has no JSON form")

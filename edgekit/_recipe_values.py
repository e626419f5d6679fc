"""Reads what a person types for one option: a name, a choice, a share, a count, a shape."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast, get_args

from edgekit._values import DimRange
from edgekit.errors import UsageError

Shape = str | Sequence[int | str | DimRange]
_DIM = re.compile(r"([0-9]{1,18})(?:\.\.([0-9]{1,18}))?")
_SHAPE_EXAMPLE = "write it as --shape NAME=1,3,48,320 or, with ranges, NAME=1..8,3,48,32..640"


def parse_shapes(given: str | Sequence[str] | Mapping[str, Shape] | None) -> dict[str, tuple[DimRange, ...]]:
    """Dims by input name, from `NAME=1..8,3,48,320` texts (split at the last '=') or a mapping."""
    if not given:
        return {}
    if isinstance(given, Mapping):
        return {name: _dims(name, shape) for name, shape in given.items()}
    shapes: dict[str, tuple[DimRange, ...]] = {}
    for text in [given] if isinstance(given, str) else given:
        name, equals, dims = text.rpartition("=")
        if not (equals and name):
            raise UsageError(f"shape '{text}' is not NAME=DIMS", fix=_SHAPE_EXAMPLE)
        if name in shapes:
            raise UsageError(f"input '{name}' is given two shapes", fix="keep one, with ranges if needed")
        shapes[name] = _dims(name, dims)
    return shapes


def _dims(name: str, shape: Shape) -> tuple[DimRange, ...]:
    if isinstance(shape, str):
        text = shape.strip()
        return tuple(_dim(name, part) for part in text.split(",")) if text not in {"", "[]"} else ()
    return tuple(part if isinstance(part, DimRange) else _dim(name, str(part)) for part in shape)


def _dim(name: str, text: str) -> DimRange:
    match = _DIM.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"dim '{text}' of input '{name}' is no size and no range", fix=_SHAPE_EXAMPLE)
    low, high = int(match[1]), int(match[2] or match[1])
    if low < 1 or high < low:
        raise UsageError(
            f"dim '{text}' of input '{name}' must be at least 1 and not run backwards", fix=_SHAPE_EXAMPLE
        )
    return DimRange(low, high)


def refuse_unknown(given: Mapping[str, object], known: Sequence[str], what: str) -> None:
    """Raise UsageError for a key that is not known, naming the nearest one that is."""
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise UsageError(f"unknown {what} '{name}'", fix=f"{hint}known: {', '.join(known)}")


def read_words(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """A text or a sequence of texts, each kept as typed and only once."""
    items = [value] if isinstance(value, str) else list(value or ())
    for item in items:
        if not isinstance(item, str) or not item.strip():
            raise UsageError(f"'{item}' is no name", fix="give names as text, none of them empty")
    return tuple(dict.fromkeys(items))


def choice_of(name: str, kind: object) -> Callable[[Any], Any]:
    known = get_args(kind)

    def read(value: object) -> str:
        if isinstance(value, bool) or value not in known:
            near = get_close_matches(str(value), [str(item) for item in known], n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            choices = ", ".join(map(str, known))
            raise UsageError(f"{name} '{value}' is unknown", fix=f"{hint}choose from {choices}")
        return cast("str", value)

    return read


def read_share(name: str, value: object) -> float:
    """A share as 0.9 or "90%"."""
    text = str(value).strip()
    number = read_number(name, text.removesuffix("%"), given=value) / (100 if text.endswith("%") else 1)
    if not 0 <= number <= 1:
        raise UsageError(f"{name} '{value}' is not within 0 and 1", fix="write 0.9, or 90%")
    return number


def read_number(name: str, text: str, *, given: object) -> float:
    try:
        number = math.nan if isinstance(given, bool) else float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{name} '{given}' is not a number", fix=f"give a finite number, as {name} = 10")
    return number


def count_of(name: str) -> Callable[[Any], int | None]:
    def read(value: object) -> int | None:
        if value is None and name == "limit":
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000:
            raise UsageError(f"{name} '{value}' is not a count", fix="give a whole number from 1 up")
        return value

    return read


def switch_of(name: str) -> Callable[[Any], bool]:
    def read(value: object) -> bool:
        if not isinstance(value, bool):
            raise UsageError(f"{name} '{value}' is neither true nor false", fix="give true or false")
        return value

    return read


def text_of(name: str) -> Callable[[Any], Any]:
    """Text or a path as text; a callable or a table stays what it is."""
    read_text = plain_text_of(name)
    return lambda value: value if callable(value) or isinstance(value, Mapping) else read_text(value)


def plain_text_of(name: str) -> Callable[[Any], str | None]:
    """Text or a path as text."""

    def read(value: object) -> str | None:
        if value is None or (isinstance(value, (str, Path)) and str(value).strip()):
            return None if value is None else str(value)
        raise UsageError(f"{name} '{value}' is not text", fix=f"give {name} as text or leave it out")

    return read

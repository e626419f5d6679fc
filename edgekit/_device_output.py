"""Reads the measurement JSON that the device scripts print; device output is not trusted."""

from __future__ import annotations

from typing import Any, NoReturn

from edgekit._results import Measurement
from edgekit._strict_json import is_number, parse_json
from edgekit.errors import TargetError

SCHEMA = "edgekit.device-measurements/1"
MAX_BYTES = 16 << 20
MAX_TEXT = 2000
_KEYS = {"metric", "value", "unit", "kind", "basis"}


def read_measurements(output: bytes, *, fix: str) -> list[Measurement]:
    """The measurements in a device run's stdout. Raises TargetError for anything but our JSON.

    Only `measured` figures are taken, and only finite ones; null is "nothing to tell" (see its basis).
    An `unknown` one has null: it says what was not measured, and why. `fix` is the error's way out.
    """
    try:
        return _read(output)
    except _RefusedError as refused:
        raise TargetError(f"the device's output cannot be read: {refused}", fix=fix) from refused


class _RefusedError(Exception):
    """What is wrong with the output."""


def _read(output: bytes) -> list[Measurement]:
    if len(output) > MAX_BYTES:
        _refuse(f"it is larger than {MAX_BYTES >> 20} MiB")
    try:
        data = parse_json(output)
    except ValueError as error:
        _refuse(f"it is not JSON ({error})", error)
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        _refuse(f"its schema is not {SCHEMA}")
    rows = data.get("measurements")
    if not isinstance(rows, list):
        _refuse("it has no list of measurements")
    return [_measurement(row, index) for index, row in enumerate(rows)]


def _measurement(row: Any, index: int) -> Measurement:
    if not isinstance(row, dict) or set(row) != _KEYS:
        _refuse(f"measurement {index} does not have exactly the keys {', '.join(sorted(_KEYS))}")
    texts = [row[key] for key in ("metric", "unit", "basis")]
    if not all(isinstance(text, str) and len(text) <= MAX_TEXT for text in texts):
        _refuse(f"measurement {index} has a wrong or overlong text")
    if not all(text.isprintable() for text in texts):
        _refuse(f"measurement {index} holds control characters")
    value = row["value"]
    if value is not None and not is_number(value):
        _refuse(f"measurement {index} ('{row['metric']}') has no finite value")
    if row["kind"] != "measured" and (row["kind"] != "unknown" or value is not None):
        _refuse(f"measurement {index} ('{row['metric']}') is not a measured one")
    figure = None if value is None else float(value)
    return Measurement(row["metric"], figure, row["unit"], row["kind"], row["basis"])


def _refuse(problem: str, cause: Exception | None = None) -> NoReturn:
    raise _RefusedError(problem) from cause

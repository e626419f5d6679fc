"""The calibration record: the observed range of every tensor, as canonical JSON with a digest."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from edgekit._strict_json import is_number, parse_json
from edgekit.errors import SamplesError

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = "edgekit.calibration/1"


@dataclass(frozen=True)
class TensorRange:
    """What was seen of one tensor, in the tensor's own units.

    low, high: exact extremes. threshold: largest |x| that a symmetric scheme keeps (>= 0).
    clip_low <= 0 <= clip_high: the range that an asymmetric scheme keeps.
    """

    low: float
    high: float
    threshold: float
    clip_low: float
    clip_high: float

    def whole(self) -> TensorRange:
        """The same tensor with nothing clipped: what minmax keeps of it."""
        threshold = max(abs(self.low), abs(self.high))
        return TensorRange(self.low, self.high, threshold, min(0.0, self.low), max(0.0, self.high))


@dataclass(frozen=True)
class ChannelRange:
    """Exact extremes of each channel of one tensor, in the tensor's own units."""

    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class CalibrationRecord:
    """The ranges of one component under one observer; equal inputs give equal bytes.

    `channels` holds the tensors whose extremes were wanted by channel.

    `model_digest` is the component's; `samples_digest` the samples'; `samples_kind` is `real` or `random`.
    `parameters` are the observer's, as text. `histograms_digest` is None for minmax, which keeps none.
    """

    component: str
    model_digest: str
    samples_digest: str
    samples_kind: str
    sample_count: int
    observer: str
    parameters: Mapping[str, str]
    ranges: Mapping[str, TensorRange]
    histograms_digest: str | None = None
    channels: Mapping[str, ChannelRange] = field(default_factory=dict)
    schema: str = SCHEMA

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Canonical JSON: keys sorted, numbers in Python's shortest exact form, one newline at the end."""
        ranges = {name: _to_floats(seen) for name, seen in self.ranges.items()}
        values = {**asdict(replace(self, ranges={})), "ranges": ranges}
        return json.dumps(values, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> CalibrationRecord:
        """Read a record strictly: unknown or missing keys, wrong types and NaN raise SamplesError."""
        try:
            values = parse_json(text)
        except ValueError as error:
            raise _damaged(f"not canonical JSON: {error}") from error
        values = _check_keys(values, cls, "record")
        if values["schema"] != SCHEMA:
            raise _damaged(f"schema is {values['schema']!r}, expected '{SCHEMA}'")
        _check_types(values)
        ranges = {name: _read_range(name, entry) for name, entry in values["ranges"].items()}
        channels = {name: _read_channels(name, entry) for name, entry in values["channels"].items()}
        return cls(**{**values, "ranges": ranges, "channels": channels})


def _to_floats(seen: TensorRange) -> dict[str, float]:
    return {field.name: float(getattr(seen, field.name)) for field in fields(seen)}


_TEXTS = ("schema", "component", "model_digest", "samples_digest", "samples_kind", "observer")


def _check_types(values: Mapping[str, Any]) -> None:
    for key in _TEXTS:
        if not isinstance(values[key], str):
            raise _damaged(f"'{key}' is {type(values[key]).__name__}, expected text")
    if values["samples_kind"] not in ("real", "random"):
        raise _damaged(f"'samples_kind' is {values['samples_kind']!r}, expected 'real' or 'random'")
    if type(values["sample_count"]) is not int or values["sample_count"] < 1:
        raise _damaged(f"'sample_count' is {values['sample_count']!r}, expected a whole number from 1 up")
    if not isinstance(values["histograms_digest"], str | None):
        raise _damaged("'histograms_digest' is neither text nor null")
    if not all(isinstance(values[key], dict) for key in ("ranges", "parameters", "channels")):
        raise _damaged("'ranges', 'parameters' or 'channels' is no object")
    if not all(isinstance(value, str) for value in values["parameters"].values()):
        raise _damaged("a value of 'parameters' is no text")


def _read_channels(name: str, entry: object) -> ChannelRange:
    values = _check_keys(entry, ChannelRange, f"channels of '{name}'")
    low, high = values["low"], values["high"]
    for numbers in (low, high):
        if not isinstance(numbers, list) or not all(is_number(value) for value in numbers):
            raise _damaged(f"the channels of tensor '{name}' are no list of finite numbers")
    if len(low) != len(high) or any(one > other for one, other in zip(low, high, strict=True)):
        raise _damaged(f"the channels of tensor '{name}' contradict themselves")
    return ChannelRange(tuple(map(float, low)), tuple(map(float, high)))


def _read_range(name: str, entry: object) -> TensorRange:
    values = _check_keys(entry, TensorRange, f"range of '{name}'")
    for key, value in values.items():
        if type(value) is not float or not math.isfinite(value):
            raise _damaged(f"'{key}' of tensor '{name}' is {value!r}, expected a finite number")
    found = TensorRange(**values)
    if found.low > found.high or found.threshold < 0 or not found.clip_low <= 0 <= found.clip_high:
        raise _damaged(f"the range of tensor '{name}' contradicts itself: {found}")
    return found


def _check_keys(entry: object, kind: type, where: str) -> dict[str, Any]:
    expected = {field.name for field in fields(kind)}
    found = set(entry) if isinstance(entry, dict) else set()
    if not isinstance(entry, dict) or found != expected:
        odd = ", ".join(sorted(str(key) for key in found ^ expected))
        raise _damaged(f"{where} has missing or unknown keys: {odd or type(entry).__name__}")
    return entry


def _damaged(problem: str) -> SamplesError:
    return SamplesError(f"calibration record: {problem}", fix="calibrate again to write a new record")

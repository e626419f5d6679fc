"""The record's JSON: canonical, strict, and its keys."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from edgekit.calibration.record import CalibrationRecord, TensorRange
from edgekit.errors import SamplesError

RECORD = CalibrationRecord(
    "model",
    "a" * 64,
    "b" * 64,
    "real",
    4,
    "percentile",
    {"percentile": "99.99"},
    {"y": TensorRange(-1, 2, 2, -1, 2), "x": TensorRange(0.1, 3, 2.5, 0, 2.5)},
    "c" * 64,
)


def test_a_record_survives_json_and_equal_records_give_equal_bytes() -> None:
    text = RECORD.to_json()
    assert CalibrationRecord.from_json(text) == RECORD
    turned = replace(RECORD, ranges={name: RECORD.ranges[name] for name in ("x", "y")})
    assert turned.to_json() == text
    assert RECORD.digest == hashlib.sha256(text.encode()).hexdigest()
    assert CalibrationRecord.from_json(text).to_json() == text


def test_any_changed_range_changes_the_digest() -> None:
    other = replace(RECORD, ranges={**RECORD.ranges, "x": TensorRange(0.1, 3, 2.4, 0, 2.5)})
    assert other.digest != RECORD.digest


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("extra",), 1),
        (("schema",), "edgekit.calibration/2"),
        (("sample_count",), "4"),
        (("sample_count",), 0),
        (("sample_count",), True),
        (("samples_kind",), "fake"),
        (("component",), None),
        (("histograms_digest",), 3),
        (("parameters",), {"percentile": 99.99}),
        (("ranges",), []),
        (("ranges", "x"), {"low": 0}),
        (("ranges", "x"), "wide"),
        (("ranges", "x", "low"), "0"),
        (("ranges", "x", "low"), float("nan")),
        (("ranges", "x", "high"), float("inf")),
        (("ranges", "x", "high"), -5.0),
        (("ranges", "x", "threshold"), -1.0),
        (("ranges", "x", "clip_low"), 1.0),
        (("ranges", "x", "clip_high"), -1.0),
    ],
)
def test_a_damaged_record_is_refused(path: tuple[str, ...], value: object) -> None:
    content = json.loads(RECORD.to_json())
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(SamplesError, match="calibration record"):
        CalibrationRecord.from_json(json.dumps(content))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "null",
        RECORD.to_json().replace('"sample_count": 4', '"sample_count": 4, "sample_count": 5'),
    ],
)
def test_text_that_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(SamplesError, match="calibrate again"):
        CalibrationRecord.from_json(text)


def test_a_missing_key_is_refused_by_name() -> None:
    content = json.loads(RECORD.to_json())
    del content["observer"]
    with pytest.raises(SamplesError, match="observer"):
        CalibrationRecord.from_json(json.dumps(content))

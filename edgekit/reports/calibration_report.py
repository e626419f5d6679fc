"""What `calibrate` prints: which samples the record rests on, and its widest ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.reports.terminal import clean, shorten, table

if TYPE_CHECKING:
    from edgekit.calibration.record import CalibrationRecord

SHOWN = 10


def render_record(record: CalibrationRecord, output: str | None) -> str:
    """A record as text; random samples are said to be worthless for accuracy."""
    lines = [
        clean(f"record {record.digest[:12]}: {len(record.ranges)} tensors by {record.observer}"),
        clean(f"samples: {record.sample_count} {record.samples_kind} (sha256 {record.samples_digest[:12]})"),
    ]
    if record.samples_kind == "random":
        lines.append("WARNING: random samples show that a graph runs, never that it is accurate")
    widest = sorted(record.ranges.items(), key=lambda item: -item[1].threshold)[:SHOWN]
    rows = [
        (shorten(name, 48), f"{seen.low:.5g}", f"{seen.high:.5g}", f"{seen.threshold:.5g}")
        for name, seen in widest
    ]
    lines.append(f"the {len(rows)} widest ranges:")
    lines.append(table(("tensor", "lowest", "highest", "threshold"), rows, right=(1, 2, 3)))
    lines.append(clean(f"written to {output}") if output else "not written: -o FILE keeps it")
    return "\n".join(lines)

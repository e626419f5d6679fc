"""What a user reads after a sweep: one row a model and target, errors below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.reports.terminal import clean, size, table

if TYPE_CHECKING:
    from edgekit._sweep_values import SweepResult, SweepRow

_HEADERS = ("model", "target", "device", "variants", "size", "SQNR vs fp32", "status", "tries", "seconds")


def render_sweep(result: SweepResult) -> str:
    """The table, each error with its job, and one last line that counts."""
    lines = [table(_HEADERS, [_row(row) for row in result.rows], right=(4, 5, 7, 8))]
    lines += [clean(f"  {row.name} for {row.target}: {row.error}") for row in result.rows if row.error]
    good = sum(row.status == "passed" for row in result.rows)
    word = "all passed" if result.passed else f"NOT GOOD: {len(result.rows) - good} did not pass"
    lines.append(clean(f"{good} of {len(result.rows)} on {result.ran_on}: {word}"))
    return "\n".join(lines)


def _row(row: SweepRow) -> tuple[str, ...]:
    return (
        row.name,
        row.target,
        row.device or "-",
        ", ".join(row.variants) or "-",
        "-" if row.size is None else size(row.size),
        "-" if row.sqnr_db is None else f"{row.sqnr_db:.1f} dB",
        row.status,
        str(row.tries),
        f"{row.seconds:.1f}",
    )

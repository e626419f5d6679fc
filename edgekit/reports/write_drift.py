"""Writes what a drift found into one folder: a page for people, JSON for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.reports.drift_page import render_page
from edgekit.reports.json_form import document
from edgekit.reports.write_files import write_files

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._field import DriftResult

PAGE = "drift.html"


def drift_json(result: DriftResult) -> str:
    """Everything that was found: `edgekit.drift`, version 1."""
    return document("drift", passed=result.passed, drift=result)


def write_drift(result: DriftResult, output: Path) -> None:
    """`drift.html` and `drift.json` into a folder; other files there stay. Raises EdgekitError."""
    write_files({PAGE: render_page(result), "drift.json": drift_json(result) + "\n"}, output)

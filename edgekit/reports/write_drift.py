"""Writes what a drift found into one folder: a page for people, JSON for programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._field_figures import measured_json
from edgekit.errors import UsageError
from edgekit.reports.drift_page import render_page
from edgekit.reports.evidently_page import render_evidently, require_evidently
from edgekit.reports.json_form import document
from edgekit.reports.write_files import write_files

if TYPE_CHECKING:
    from edgekit._field import DriftResult, DriftWords

PAGE, DATA, MEASURED, EVIDENTLY = "drift.html", "drift.json", "measured.json", "evidently.html"


def drift_json(result: DriftResult) -> str:
    """Everything that was found: `edgekit.drift`, version 1."""
    return document("drift", passed=result.passed, drift=result)


def check_output(words: DriftWords) -> None:
    """UsageError or MissingToolError for what cannot be written, before any work."""
    if words.get("evidently"):
        if words.get("output") is None:
            raise UsageError("--evidently has nowhere to go", fix="name a folder with -o")
        require_evidently()


def write_drift(result: DriftResult, words: DriftWords) -> None:
    """`drift.html`, `drift.json`, `measured.json` and, if asked for, `evidently.html` into a folder.

    Nothing where they name none. None of these stays from before, other files do. Raises EdgekitError.
    """
    output = words.get("output")
    if output is None:
        return
    texts = {PAGE: render_page(result), DATA: drift_json(result) + "\n"}
    if result.measured is not None:
        texts[MEASURED] = measured_json(result.measured)
    if words.get("evidently"):
        texts[EVIDENTLY] = render_evidently(result)
    write_files(texts, Path(output))
    for name in {MEASURED, EVIDENTLY} - texts.keys():
        Path(output, name).unlink(missing_ok=True)

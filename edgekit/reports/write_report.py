"""Writes a report in all its forms into one folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from edgekit._baseline import find_regressions, load_baseline, parse_rule
from edgekit._bundle import MANIFEST
from edgekit._feasibility import Report, describe_bundles, refuse_duplicates
from edgekit._recipe_file import read_limits
from edgekit._scenario import load_scenario
from edgekit.errors import UsageError
from edgekit.reports.feasibility_report import render_junit, render_markdown, report_json
from edgekit.reports.html_report import render_html
from edgekit.reports.write_files import write_files
from edgekit.sources.export_source import SCENARIO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgekit._scenario import Scenario

FILES = ("report.json", "report.html", "report.md", "junit.xml")
_BESIDE = (".profiles", ".debug", ".sig")
_TITLE = "Feasibility report"


class ReportWords(TypedDict, total=False):
    """What `report` takes. `profiles`: JSON files that do not lie beside the bundles; `fail_if`: rules.

    recipe: a recipe file whose budget counts too. measured_field: the measured.json files of `drift`.
    scenario: of bundles of several components, the scenario.toml or its folder.
    """

    budget: str | Mapping[str, object] | None
    profiles: Sequence[str | Path]
    measured_field: Sequence[str | Path]
    baseline: str | Path | None
    fail_if: str | Sequence[str]
    title: str
    recipe: str | Path
    scenario: str | Path


def write_report(bundles: Sequence[Path], output: Path, words: ReportWords) -> Report:
    """Make the report and write FILES into `output`; other files there stay. Raises EdgekitError."""
    for name in words:
        if name not in ReportWords.__annotations__:
            known = ", ".join(ReportWords.__annotations__)
            raise UsageError(f"report has no option '{name}'", fix=f"it has: {known}")
    # `out/*` names what lies beside the bundles too.
    bundles = [path for path in bundles if path.suffix not in _BESIDE or (path / MANIFEST).exists()]
    if not bundles:
        raise UsageError("no bundle is given", fix="name at least one folder that `edgekit convert` wrote")
    report = _make(bundles, words)
    title = words.get("title", _TITLE)
    texts = (
        report_json(report),
        render_html(report, title),
        render_markdown(report, title),
        render_junit(report),
    )
    write_files(dict(zip(FILES, texts, strict=True)), output)
    return report


def _make(bundles: Sequence[Path], words: ReportWords) -> Report:
    limits = read_limits(words.get("budget"), words.get("recipe"))
    given = words.get("fail_if", ())
    rules = [parse_rule(text) for text in ([given] if isinstance(given, str) else given)]
    old = words.get("baseline")
    if (old is None) != (not rules):
        raise UsageError("--baseline and --fail-if go together", fix="give both, or neither")
    baseline = {} if old is None else load_baseline(Path(old))
    given_profiles = [Path(path) for path in words.get("profiles", ())]
    fields = [Path(path) for path in words.get("measured_field", ())]
    devices = describe_bundles(bundles, limits, given_profiles, fields, _read_scenario(words))
    refuse_duplicates(devices)
    return Report(
        devices, limits, find_regressions(devices, baseline, rules), "" if old is None else str(old)
    )


def _read_scenario(words: ReportWords) -> Scenario | None:
    given = words.get("scenario")
    if given is None:
        return None
    path = Path(given)
    return load_scenario(path / SCENARIO if path.is_dir() else path)

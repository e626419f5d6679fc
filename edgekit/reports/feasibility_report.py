"""The feasibility report for terminals, pull requests, CI and programs: text, Markdown, JUnit, JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from edgekit._feasibility import explain_verdict
from edgekit._profile import profile_json
from edgekit.reports.json_form import VERSION, plain
from edgekit.reports.junit_xml import add_case, write_suites
from edgekit.reports.terminal import clean, quantity, table, with_interval

if TYPE_CHECKING:
    from edgekit._feasibility import DeviceReport, Report
    from edgekit._results import Measurement, Parity, Verdict

_MARKDOWN_SIGNS = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_{}[]<>#|!~&"})


def report_json(report: Report) -> str:
    """report.json, the truth that every other form renders."""
    body: dict[str, Any] = {"schema": "edgekit.report", "version": VERSION, "passed": report.passed}
    body |= {"limits": plain(report.limits), "regressions": list(report.regressions)}
    body["baseline"] = report.compared
    body["devices"] = [_device_json(device) for device in report.devices]
    return json.dumps(body, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"


def _device_json(device: DeviceReport) -> Any:
    body: Any = plain(
        {name: getattr(device, name) for name in device.__dataclass_fields__ if name != "profiles"}
    )
    body["profiles"] = [profile_json(profile) for profile in device.profiles]
    return body


def render_report(report: Report) -> str:
    """The terminal's view: one row a device, then each one's reasons."""
    headers, rows = _overview(report)
    lines = [table(headers, rows, right=range(2, len(headers)))]
    for device in report.devices:
        lines.append(clean(f"{device.device}: {device.overall}"))
        lines += [clean(f"  {reason}") for reason in device.reasons]
    lines += [clean(f"WORSE {line}") for line in report.regressions]
    return "\n".join(lines)


def render_markdown(report: Report, title: str) -> str:
    """For a pull request or a CI summary."""
    headers, rows = _overview(report)
    lines = [f"# {escape_markdown(title)}", "", f"| {' | '.join(headers)} |", f"|{'---|' * len(headers)}"]
    lines += [f"| {' | '.join(escape_markdown(cell) for cell in row)} |" for row in rows]
    for device in report.devices:
        lines += ["", f"## {escape_markdown(device.device)}: {device.overall}", ""]
        lines += [f"- {escape_markdown(reason)}" for reason in device.reasons]
    if report.regressions:
        lines += [
            "",
            "## Worse than the baseline",
            "",
            *(f"- {escape_markdown(line)}" for line in report.regressions),
        ]
    return "\n".join(lines) + "\n"


def _overview(report: Report) -> tuple[list[str], list[tuple[str, ...]]]:
    rows = []
    for device in report.devices:
        known = {row.metric: row for row in device.figures if row.value is not None}
        cells = (_cell(known.get(name)) for name in report.columns)
        rows.append((device.device, device.overall, *cells))
    return ["device", "verdict", *report.columns], rows


def _cell(row: Measurement | None) -> str:
    """A measured figure alone; a predicted one says so, and in which interval."""
    if row is None or row.value is None:
        return "unknown"
    return quantity(row.value, row.unit) if row.kind == "measured" else f"{with_interval(row)} {row.kind}"


def render_junit(report: Report) -> str:
    """JUnit XML: one suite a device, one case a proof and a budget line; unknown ones are skipped."""
    suites = ET.Element("testsuites", name="edgekit")
    for device in report.devices:
        suite = ET.SubElement(suites, "testsuite", name=clean(device.device))
        for parity in device.parities:
            add_case(suite, "proof", f"{parity.component} {parity.variant}", _judge_proof(parity))
        for verdict in device.verdicts:
            add_case(suite, "budget", verdict.metric, _judge_budget(verdict))
    if report.compared:
        suite = ET.SubElement(suites, "testsuite", name="baseline")
        worse = ("failure", "; ".join(report.regressions)) if report.regressions else None
        add_case(suite, "baseline", report.compared, worse)
    return write_suites(suites)


def _judge_proof(parity: Parity) -> tuple[str, str] | None:
    if parity.status == "unproven":
        return "skipped", parity.reason
    return ("failure", "; ".join(parity.gate_failures) or "two runs differ") if parity.failed else None


def _judge_budget(verdict: Verdict) -> tuple[str, str] | None:
    if verdict.status == "unknown":
        return "skipped", verdict.figure.basis
    return ("failure", explain_verdict(verdict)) if verdict.status == "does not fit" else None


def escape_markdown(text: str) -> str:
    """Text on one line, with Markdown's and HTML's signs as plain letters."""
    return clean(text).translate(_MARKDOWN_SIGNS)

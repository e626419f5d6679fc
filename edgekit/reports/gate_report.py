"""A gate's answer for a terminal, as JUnit XML and as a step summary in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from edgekit.errors import OutputError
from edgekit.reports.feasibility_report import escape_markdown
from edgekit.reports.junit_xml import add_case, write_suites
from edgekit.reports.terminal import clean, table

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._gate import Check, GateResult

_HEAD = ["", "demand", "on", "seen"]


def render_gate(result: GateResult) -> str:
    """A table a bundle, failed checks marked, and one line with the answer."""
    parts = []
    for bundle in result.bundles:
        rows = [(_mark(check), check.kind, check.name, check.seen) for check in bundle.checks]
        head = clean(f"{bundle.device} ({bundle.place}, sha256 {bundle.digest[:12]})")
        parts.append(f"{head}\n{table(_HEAD, rows)}")
    return "\n\n".join([*parts, _conclude(result)])


def render_gate_junit(result: GateResult) -> str:
    """JUnit XML: a suite a bundle, a case a check."""
    suites = ET.Element("testsuites", name="edgekit gate")
    for bundle in result.bundles:
        suite = ET.SubElement(suites, "testsuite", name=clean(bundle.device))
        for check in bundle.checks:
            add_case(suite, check.kind, check.name, None if check.passed else ("failure", check.seen))
    return write_suites(suites)


def render_gate_summary(result: GateResult) -> str:
    """GitHub's Markdown: a heading with the answer, a table a bundle."""
    lines = [f"## {_conclude(result)}", ""]
    for bundle in result.bundles:
        lines += [f"**{escape_markdown(bundle.device)}**, sha256 `{bundle.digest[:12]}`", ""]
        lines += [f"| {' | '.join(_HEAD)} |", "|---|---|---|---|"]
        for check in bundle.checks:
            cells = (_mark(check), check.kind, escape_markdown(check.name), escape_markdown(check.seen))
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines) + "\n"


def write_gate(result: GateResult, junit: Path | None, summary: Path | None) -> None:
    """Write the JUnit file, and append the summary (other steps write to the same file). OutputError."""
    try:
        if junit is not None:
            junit.write_text(render_gate_junit(result), encoding="utf-8")
        if summary is not None:
            with summary.open("a", encoding="utf-8") as stream:
                stream.write(render_gate_summary(result))
    except OSError as error:
        raise OutputError(
            f"'{error.filename}' cannot be written ({error.strerror})",
            fix="name a file in a folder that exists",
        ) from error


def _mark(check: Check) -> str:
    return "passed" if check.passed else "FAILED"


def _conclude(result: GateResult) -> str:
    checks = [check for bundle in result.bundles for check in bundle.checks]
    failed = sum(not check.passed for check in checks)
    return (
        f"gate failed: {failed} of {len(checks)} checks" if failed else f"gate passed: {len(checks)} checks"
    )

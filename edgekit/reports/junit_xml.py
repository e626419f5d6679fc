"""JUnit XML that CI servers read: suites of cases that passed, failed or were skipped."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from edgekit.reports.terminal import clean


def add_case(suite: ET.Element, kind: str, name: str, outcome: tuple[str, str] | None) -> None:
    """One test case; `outcome` is (failure or skipped, why), None where it passed."""
    case = ET.SubElement(suite, "testcase", classname=kind, name=clean(name))
    if outcome is not None:
        ET.SubElement(case, outcome[0], message=clean(outcome[1]))


def write_suites(suites: ET.Element) -> str:
    """The text of a <testsuites>, with each suite's counts."""
    for suite in suites:
        suite.set("tests", str(len(suite)))
        suite.set("failures", str(len(suite.findall("testcase/failure"))))
        suite.set("skipped", str(len(suite.findall("testcase/skipped"))))
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"

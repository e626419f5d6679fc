"""What likely keeps a component off Apple's Neural Engine: others' words, each with its source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._values import Gap
from edgekit.targets.coreml.lint_checks import CHECKS, Finding, Place
from edgekit.targets.coreml.lint_rules import Rule, load_rules

if TYPE_CHECKING:
    from edgekit._values import Component
    from edgekit.target import Job

_NAMED = 3  # nodes that one warning names beside the first
_LONGEST = 80


def lint(component: Component, job: Job) -> list[Gap]:
    """One warning for each rule and operator that it meets, in the table's order; shapes must be inferred.

    A warning names the first node, how many there are, what was seen, the sources and the rewrite. Give the
    component as it will be lowered (after rewrite_for_neural_engine): then what was rewritten is not told.
    """
    nodes = tuple(
        node
        for graph in component.model.graphs()
        for node in graph
        if not node.domain or node.domain == "ai.onnx"
    )
    place = Place(component, job, nodes)
    return [
        gap for rule in load_rules() for gap in _told(component, rule, tuple(CHECKS[rule.check](place, rule)))
    ]


def _told(component: Component, rule: Rule, findings: tuple[Finding, ...]) -> list[Gap]:
    by_op: dict[str, dict[str, Finding]] = {}
    for finding in findings:
        by_op.setdefault(finding.op, {}).setdefault(finding.node, finding)
    return [_gap(component, rule, tuple(places.values())) for places in by_op.values()]


def _gap(component: Component, rule: Rule, findings: tuple[Finding, ...]) -> Gap:
    first = findings[0]
    seen = f" ({first.seen})" if first.seen else ""
    text = f"{rule.says}{seen}{_others(findings)}; says {' and '.join(rule.sources)}"
    return Gap("coreml", component.name, first.node, first.op, text, rule.way_out, "warning")


def _others(findings: tuple[Finding, ...]) -> str:
    if len(findings) == 1:
        return ""
    names = ", ".join(f"'{_plain(one.node)}'" for one in findings[1 : _NAMED + 1])
    rest = len(findings) - 1 - _NAMED
    return f", and so {names}" + (f" and {rest} more" if rest > 0 else "")


def _plain(name: str) -> str:
    """A name out of a model, short and without control characters."""
    kept = "".join(char if char.isprintable() else "?" for char in name)
    return kept if len(kept) <= _LONGEST else kept[:_LONGEST] + "..."

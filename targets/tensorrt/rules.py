"""The rows of rules.toml and how a node is held against one."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgekit.errors import TargetError

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Rule:
    """One row: what it looks at, what it demands, and the sentences a user reads."""

    name: str
    ops: tuple[str, ...]
    severity: Literal["error", "warning"]
    rule: str
    way_out: str
    source: str
    attribute: str | None = None
    allowed: tuple[str | int, ...] = ()
    constant_input: int | None = None
    max_outputs: int | None = None

    @property
    def refuses_operator(self) -> bool:
        """True where the row has no condition: the operator itself is refused."""
        return self.attribute is None and self.constant_input is None and self.max_outputs is None


@cache
def rules_by_op() -> dict[str, tuple[Rule, ...]]:
    """Operator -> its rows."""
    path = Path(__file__).with_name("rules.toml")
    found: dict[str, tuple[Rule, ...]] = {}
    for name, row in tomllib.loads(path.read_text(encoding="utf-8")).items():
        lists = {key: tuple(value) for key, value in row.items() if isinstance(value, list)}
        try:
            rule = Rule(name=name, **(row | lists))
        except TypeError as error:
            raise TargetError(f"rules.toml: {name}: {error}", fix="mend the row") from error
        for op in rule.ops:
            found[op] = (*found.get(op, ()), rule)
    return found


def breach(rule: Rule, node: ir.Node) -> str | None:
    """What in `node` breaks the rule, in words that follow the rule's own; None: it keeps it."""
    if rule.attribute is not None:
        return _attribute_breach(rule, node)
    if rule.constant_input is not None:
        return _input_breach(rule.constant_input, node)
    if rule.max_outputs is not None:
        used = [value for value in node.outputs[rule.max_outputs :] if _is_used(value)]
        return f" (output '{used[0].name}' is used)" if used else None
    return ""


def _attribute_breach(rule: Rule, node: ir.Node) -> str | None:
    attribute = node.attributes.get(rule.attribute or "")
    if attribute is None:
        return None
    value = attribute.value
    entries = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    bad = [entry for entry in entries if entry not in rule.allowed]
    return f" ({rule.attribute} is {value})" if bad else None


def _input_breach(position: int, node: ir.Node) -> str | None:
    if position >= len(node.inputs):
        return None
    value = node.inputs[position]
    if value is None or value.const_value is not None:
        return None
    producer = value.producer()
    if producer is not None and producer.op_type == "Constant":
        return None
    return f" (input '{value.name}')"


def _is_used(value: ir.Value) -> bool:
    return bool(value.name) and (bool(value.uses()) or value.is_graph_output())

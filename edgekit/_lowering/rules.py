"""A target's table of op rules, and which ops are left to ONNX's own definitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    import onnx_ir as ir

# Bodies that are loops: with constant inputs they are folded instead.
_LOOPS = frozenset(("Range", "SequenceMap"))
_DOMAINS = ("", "ai.onnx.preview")

R = TypeVar("R", bound=Callable[..., Any])


@dataclass(frozen=True)
class Registered(Generic[R]):
    """A rule and the attributes it honours; any other attribute of a node is refused."""

    rule: R
    attributes: frozenset[str]


class RuleTable(dict[str, Registered[R]]):
    """Op type -> its rule; ops of other domains than ONNX's own stand there with their domain."""

    def add(self, ops: str, attributes: str = "") -> Callable[[R], R]:
        """Register a rule for these ops (words), honouring these attributes (words)."""

        def register(function: R) -> R:
            for op in ops.split():
                self[op] = Registered(function, frozenset(attributes.split()))
            return function

        return register

    def find(self, node: ir.Node) -> Registered[R] | None:
        """The rule of the node's op."""
        own = node.domain in ("", "ai.onnx")
        return self.get(node.op_type if own else f"{node.domain}.{node.op_type}")


def functions_beyond(rules: Container[str], written_out: Sequence[str]) -> frozenset[str]:
    """Ops that ONNX defines by primitives and that have no rule, with those that edgekit writes out itself.

    Every such op of ONNX: a body may hold others, so what a model uses is not enough.
    """
    import onnx

    schemas: Any = onnx.defs.get_all_schemas()
    return frozenset(written_out) | frozenset(
        schema.name
        for schema in schemas
        if schema.domain in _DOMAINS
        and schema.name not in rules
        and schema.name not in _LOOPS
        and (schema.has_function or schema.has_context_dependent_function)
    )

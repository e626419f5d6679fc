"""Evaluates a function of a program, operation by operation, and forgets each tensor after its last use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgekit.errors import BundleError, CannotRunHere
from edgekit.targets.coreml.interpret.call_op import call_op, is_known
from edgekit.targets.coreml.interpret.program import Ref, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy as np

    from edgekit.targets.coreml.interpret.program import Block, Function, Operation

    Scope = dict[str, Any]

_MAX_STEPS = 1_000_000


@dataclass
class State:
    """What a state input holds; `write_state` replaces it."""

    value: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """One run; `kept` collects the tensors named in `keep` (of a loop: those of its last step)."""

    keep: frozenset[str]
    kept: dict[str, Any] = field(default_factory=dict)

    def block(self, block: Block, scope: Scope) -> list[Any]:
        """The block's results; `scope` is what its operations see, and is written to."""
        operations = [operation for operation in block.operations if not _is_constant(operation)]
        dead = _last_uses(operations, block.outputs)
        for place, operation in enumerate(operations):
            run = _SPECIAL.get(operation.type, _call)
            results = run(self, operation, scope)
            for output, result in zip(operation.outputs, results, strict=True):
                scope[output.name] = result
                if output.name in self.keep:
                    self.kept[output.name] = result
            for name in dead.get(place, ()):
                del scope[name]
        return [_look_up(name, scope) for name in block.outputs]


def fold_constants(function: Function) -> dict[str, Any]:
    """The values of a function's constants, and of those stored compressed (constexpr ops), by name."""
    scope: Scope = {}
    for operation in walk(function.block):
        if operation.type == "const":
            scope[operation.name] = operation.value
        elif _is_constant(operation):
            results = call_op(operation, _arguments(operation, scope))
            scope |= {output.name: result for output, result in zip(operation.outputs, results, strict=True)}
    return scope


def unknown_ops(function: Function) -> list[str]:
    """Op types of the function that this interpreter has no formula for."""
    types = {operation.type for operation in walk(function.block)} - {"const"}
    return sorted(op for op in types if op not in _SPECIAL and not is_known(op))


def _call(evaluation: Evaluation, operation: Operation, scope: Scope) -> list[Any]:
    del evaluation
    return call_op(operation, _arguments(operation, scope))


def _cond(evaluation: Evaluation, operation: Operation, scope: Scope) -> list[Any]:
    """MIL cond: blocks are (if true, if false) and see every outer value."""
    chosen = 0 if bool(_argument(operation, "pred", scope)) else 1
    return evaluation.block(operation.blocks[chosen], dict(scope))


def _while_loop(evaluation: Evaluation, operation: Operation, scope: Scope) -> list[Any]:
    """MIL while_loop: blocks are (condition, body); both name the loop variables as their own inputs."""
    condition, body = operation.blocks
    values: Sequence[Any] = _arguments(operation, scope)["loop_vars"]
    for _ in range(_MAX_STEPS):
        if not bool(evaluation.block(condition, _enter(condition, values, scope))[0]):
            return list(values)
        values = evaluation.block(body, _enter(body, values, scope))
    raise CannotRunHere(
        f"while_loop '{operation.name}' runs more than {_MAX_STEPS} steps", fix="run it on a Mac"
    )


def _enter(block: Block, values: Sequence[Any], scope: Scope) -> Scope:
    return scope | {item.name: value for item, value in zip(block.inputs, values, strict=True)}


def _read_state(evaluation: Evaluation, operation: Operation, scope: Scope) -> list[Any]:
    del evaluation
    return [_argument(operation, "input", scope).value]


def _write_state(evaluation: Evaluation, operation: Operation, scope: Scope) -> list[Any]:
    del evaluation
    state, data = _argument(operation, "input", scope), _argument(operation, "data", scope)
    if data.shape != state.value.shape or data.dtype != state.value.dtype:
        raise BundleError(
            f"write_state '{operation.name}' writes {data.dtype}{list(data.shape)} into a state of "
            f"{state.value.dtype}{list(state.value.shape)}",
            fix="build the package again",
        )
    state.value = data
    return []


_SPECIAL: dict[str, Callable[[Evaluation, Operation, Scope], list[Any]]] = {
    "cond": _cond,
    "while_loop": _while_loop,
    "read_state": _read_state,
    "write_state": _write_state,
}


def _arguments(operation: Operation, scope: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {
        key: tuple(_look_up(item.name, scope) if isinstance(item, Ref) else item for item in items)
        for key, items in operation.inputs.items()
    }


def _argument(operation: Operation, name: str, scope: Mapping[str, Any]) -> Any:
    if name not in operation.inputs:
        raise BundleError(
            f"{operation.type} '{operation.name}' has no input '{name}'", fix="build the package again"
        )
    return _arguments(operation, scope)[name][0]


def _look_up(name: str, scope: Mapping[str, Any]) -> Any:
    try:
        return scope[name]
    except KeyError:
        raise BundleError(
            f"the program uses '{name}' before anything gives it a value", fix="build the package again"
        ) from None


def _last_uses(operations: Sequence[Operation], outputs: Sequence[str]) -> dict[int, list[str]]:
    """Place of an operation -> names made among these operations that nobody reads after it."""
    last: dict[str, int] = {}
    for place, operation in enumerate(operations):
        last |= {name: place for name in _reads(operation) if name in last}
        last |= {output.name: place for output in operation.outputs}
    places: dict[int, list[str]] = {}
    for name in last.keys() - set(outputs):
        places.setdefault(last[name], []).append(name)
    return places


def _reads(operation: Operation) -> Iterable[str]:
    for items in operation.inputs.values():
        yield from (item.name for item in items if isinstance(item, Ref))
    for block in operation.blocks:
        yield from block.outputs
        for inner in block.operations:
            yield from _reads(inner)


def _is_constant(operation: Operation) -> bool:
    return operation.type == "const" or operation.type.startswith("constexpr_")

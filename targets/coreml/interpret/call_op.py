"""Calls one operation's numpy formula: binds arguments by name, widens float16, rounds and checks results."""

from __future__ import annotations

import inspect
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import BundleError, CannotRunHere
from edgekit.targets.coreml.interpret.ops.table import COMPUTES, MOVES
from edgekit.targets.coreml.interpret.program import STORAGE
from edgekit.targets.coreml.interpret.unsupported import Unsupported, refuse_huge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgekit.targets.coreml.interpret.program import Operation, Output

# Parameters that take several values even where one is given.
_VARIADIC = frozenset({"values", "elem_shape"})
_FAILURES = (ValueError, IndexError, TypeError, KeyError, ZeroDivisionError, OverflowError, MemoryError)


def is_known(op: str) -> bool:
    """Whether this interpreter has a formula for the op type."""
    return op in COMPUTES or op in MOVES


def call_op(operation: Operation, arguments: Mapping[str, tuple[Any, ...]]) -> list[Any]:
    """The operation's results in their declared dtypes; `arguments` holds arrays by MIL parameter name.

    CannotRunHere: an op, input or value that has no formula here. BundleError: the formula cannot be
    computed, or gives another shape or kind than declared; one of the two is wrong then, and nothing may be
    concluded.
    """
    place = f"{operation.type} '{operation.name}'"
    try:
        _refuse_huge_results(operation)
        with np.errstate(all="ignore"):
            made = _formula(operation)(**_bind(operation, arguments))
            results = made if isinstance(made, tuple) else (made,)
            pairs = zip(results, operation.outputs, strict=True)
            return [_settle(result, output) for result, output in pairs]
    except Unsupported as error:
        raise CannotRunHere(
            f"{place}: {error}", fix="run it on a Mac, or build the model without this"
        ) from error
    except _FAILURES as error:
        raise BundleError(
            f"{place} cannot be computed: {str(error)[:300]}", fix="build the package again"
        ) from error


def _formula(operation: Operation) -> Callable[..., Any]:
    formula: Callable[..., Any] | None = COMPUTES.get(operation.type) or MOVES.get(operation.type)
    if formula is None:
        raise Unsupported("this operation has no formula here")
    return formula


@cache
def _parameters(op: str) -> tuple[frozenset[str], frozenset[str]]:
    """(names of tensor parameters, names of constant ones)."""
    formula = COMPUTES.get(op) or MOVES[op]
    parameters = inspect.signature(formula).parameters.values()
    settings = frozenset(item.name for item in parameters if item.kind is item.KEYWORD_ONLY)
    return frozenset(item.name for item in parameters) - settings, settings


def _bind(operation: Operation, arguments: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
    tensors, settings = _parameters(operation.type)
    bound: dict[str, Any] = {}
    for name, values in arguments.items():
        if name not in tensors | settings:
            raise Unsupported(f"its input '{name}' has no meaning here")
        if name in settings:
            bound[name] = _constant(values[0])
            continue
        widened = [_widen(value) for value in values] if operation.type in COMPUTES else list(values)
        bound[name] = widened if name in _VARIADIC else widened[0]
    return bound


def _constant(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _widen(value: Any) -> Any:
    """float16 as float32, exactly; everything else as it is."""
    return value.astype(np.float32) if getattr(value, "dtype", None) == np.float16 else value


def _refuse_huge_results(operation: Operation) -> None:
    for output in operation.outputs:
        if output.type is not None:
            refuse_huge([size for size in output.type.shape if size is not None])


def _settle(result: Any, output: Output) -> Any:
    """The result in its declared dtype (rounded to nearest even where that is narrower) and checked shape."""
    if output.type is None:
        return result
    value = np.asarray(result)
    storage = np.dtype(STORAGE[output.type.dtype])
    if _kind(value.dtype) != _kind(storage):
        raise ValueError(f"'{output.name}' is declared {output.type} but is computed as {value.dtype}")
    if not output.type.fits(value.shape):
        raise ValueError(f"'{output.name}' is declared {output.type} but has shape {list(value.shape)}")
    return value.astype(storage, copy=False)


def _kind(dtype: np.dtype[Any]) -> str:
    return "i" if dtype.kind == "u" else dtype.kind

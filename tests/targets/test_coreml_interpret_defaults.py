"""The interpreter's parameters beside coremltools' own op definitions: their names, and what is left out."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import coremltools
import numpy as np
import pytest

from edgekit.targets.coreml.interpret.ops.table import COMPUTES, MOVES

DEFINITIONS = Path(coremltools.__file__).parent / "converters/mil/mil/ops/defs"
FORMULAS = {**COMPUTES, **MOVES}
# In place of a default that follows from other inputs (zeros, ones, all axes) a formula has None.
_FOLLOWS = object()
# What the interpreter refuses by name when a program gives it.
REFUSED = {"lstm": {"clip", "peephole", "peephole_back"}}


def definitions() -> dict[str, dict[str, Any]]:
    """Operation -> input -> its default (inspect's empty where it must be given), the newest definition."""
    found: dict[str, dict[str, Any]] = {}
    for level in ("iOS15", "iOS16", "iOS17", "iOS18"):
        for file in sorted((DEFINITIONS / level).glob("*.py")):
            for item in ast.parse(file.read_text(encoding="utf-8")).body:
                if isinstance(item, ast.ClassDef):
                    given = dict.fromkeys(_keywords(item, "InputSpec"), inspect.Parameter.empty)
                    defaults = {name: _value(node) for name, node in _keywords(item, "DefaultInputs").items()}
                    found[item.name] = {**found.get(item.name, {}), **given, **defaults}
    return found


def _keywords(definition: ast.ClassDef, function: str) -> dict[str, ast.expr]:
    calls = [node for node in ast.walk(definition) if isinstance(node, ast.Call)]
    return {
        keyword.arg: keyword.value
        for node in calls
        if isinstance(node.func, ast.Name) and node.func.id == function
        for keyword in node.keywords
        if keyword.arg
    }


def _value(node: ast.expr) -> Any:
    """A literal, or the one number inside `nptype_from_builtin(...)(1e-4)`."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        numbers = [item.value for item in ast.walk(node) if isinstance(item, ast.Constant)]
        own = isinstance(node, ast.Call) and isinstance(node.func, ast.Call) and len(numbers) == 1
        return numbers[0] if own else _FOLLOWS


KNOWN = definitions()
SHARED = sorted(FORMULAS.keys() & KNOWN.keys())


def test_most_formulas_are_held_to_a_definition() -> None:
    assert len(SHARED) > 140


@pytest.mark.parametrize("op", SHARED)
def test_an_input_that_is_left_out_means_what_coremltools_says(op: str) -> None:
    parameters = inspect.signature(FORMULAS[op]).parameters
    for name, default in KNOWN[op].items():
        if name in REFUSED.get(op, ()):
            assert name not in parameters
        elif default is not inspect.Parameter.empty:
            own = parameters[name].default
            wanted: Any = None if default is _FOLLOWS else default
            assert type(own) is not type(inspect.Parameter.empty), f"{op}: '{name}' must be given here"
            assert own is wanted or np.array_equal(own, wanted), f"{op}: '{name}' is {own}, not {wanted}"

"""Two judges of a saved .mlpackage: edgekit's MIL interpreter, and coremltools' own constant folding.

The second one shares no line with the first: the program is loaded by coremltools' loader and built again by
its Builder with the inputs as constants, so that coremltools computes every value by the `value_inference` of
its own op definitions. It has no verdict where an op of the program has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RTOL, ATOL = 1e-3, 1e-4
# Its value_inference puts updates in, whatever the mode says.
_MISREAD = frozenset(("scatter_along_axis",))
RUNS = 2
Verdict = tuple[Literal["pass", "wrong", "does not run", "no verdict"], str]


def judge_by_interpreter(package: Path, feeds: Mapping[str, np.ndarray], expected: np.ndarray) -> Verdict:
    """Two runs; inputs by their order, since the peers rename some."""
    from edgekit.errors import EdgekitError
    from edgekit.targets.coreml.interpret import MilSession

    try:
        session = MilSession(package)
        given = {
            item.name: _in_form(value, item.shape, item.dtype)
            for item, value in zip(session.inputs, feeds.values(), strict=True)
        }
        runs = [session.run(given) for _ in range(RUNS)]
    except EdgekitError as error:
        return "does not run", error.problem[:200]
    except ValueError as error:
        return "does not run", f"other inputs than the model: {error}"
    verdicts = [compare(next(iter(run.values())), expected) for run in runs]
    return next((item for item in verdicts if item[0] != "pass"), verdicts[0])


def judge_by_coremltools(package: Path, feeds: Mapping[str, np.ndarray], expected: np.ndarray) -> Verdict:
    """What coremltools folds the program to when its inputs are constants."""
    from edgekit.targets.coreml.write_package import quiet

    try:
        with quiet():
            made = _fold(package, list(feeds.values()))
    except Exception as error:  # noqa: BLE001 - its folding fails in its own ways
        return "no verdict", f"{type(error).__name__}: {error}"[:200]
    return ("no verdict", "an op without value_inference") if made is None else compare(made, expected)


def _fold(package: Path, feeds: list[np.ndarray]) -> np.ndarray | None:
    from coremltools import proto
    from coremltools.converters.mil.frontend.milproto import load
    from coremltools.converters.mil.mil import Builder, Function, Program

    spec: Any = proto.Model_pb2.Model()
    data = package / "Data" / "com.apple.CoreML"
    spec.ParseFromString((data / "model.mlmodel").read_bytes())
    program = load.load(spec, spec.specificationVersion, str(data / "weights"))
    old = program.functions[program.default_function_name]
    builder: Any = Builder
    Program()
    with Function({}, opset_version=old.opset_version):
        new = {
            var: builder.const(val=_in_form(feed, _sizes(var), _numpy_name(var)))
            for var, feed in zip(old.inputs.values(), feeds, strict=True)
        }
        for op in old.operations:
            given = {key: _renew(value, new) for key, value in op.inputs.items() if value is not None}
            if op.op_type in _MISREAD:
                raise NotImplementedError(f"coremltools folds {op.op_type} without its mode")
            if op.op_type == "const":
                made = _constant(builder, op.outputs[0].val)
            else:
                made = getattr(builder, op.op_type)(**given)
            results = made if isinstance(made, tuple | list) else [made]
            new.update(zip(op.outputs, results, strict=True))
        value = new[old.outputs[0]].val
    return None if value is None else np.asarray(value)


def _constant(builder: Any, value: Any) -> Any:
    """A lone bool goes as itself: coremltools' reductions hand numpy's own to numpy, which refuses it."""
    return bool(value) if isinstance(value, np.bool_) else builder.const(val=value)


def _renew(value: Any, new: Mapping[Any, Any]) -> Any:
    return [new[item] for item in value] if isinstance(value, tuple | list) else new[value]


def _sizes(var: Any) -> tuple[int | None, ...]:
    return tuple(int(size) if isinstance(size, int | np.integer) else None for size in var.shape)


def _numpy_name(var: Any) -> str:
    from coremltools.converters.mil.mil.types import nptype_from_builtin

    return str(np.dtype(nptype_from_builtin(var.dtype)).name)


def _in_form(value: np.ndarray, shape: tuple[int | None, ...], dtype: str) -> np.ndarray:
    """A scalar travels as [1], and other dtypes in the border's."""
    moved = value.reshape(1) if value.ndim == 0 and len(shape) == 1 else value
    return moved.astype(dtype)


def compare(made: np.ndarray, expected: np.ndarray) -> Verdict:
    """Within rtol and atol; dims of 1 may come and go, so that nobody falls over Core ML's missing rank 0."""
    if [size for size in made.shape if size != 1] != [size for size in expected.shape if size != 1]:
        return "wrong", f"shape {list(made.shape)} instead of {list(expected.shape)}"
    same = np.allclose(made.reshape(expected.shape), expected, rtol=RTOL, atol=ATOL, equal_nan=True)
    return ("pass", "") if same else ("wrong", "other numbers")

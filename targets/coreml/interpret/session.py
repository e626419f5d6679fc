"""Runs a saved .mlpackage on this host: its own program and weights, evaluated with numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import BundleError, CannotRunHere, SamplesError
from edgekit.targets.coreml.interpret.evaluate import Evaluation, State, fold_constants, unknown_ops
from edgekit.targets.coreml.interpret.features import describe_inputs, describe_outputs, describe_states
from edgekit.targets.coreml.interpret.package import open_package
from edgekit.targets.coreml.interpret.program import STORAGE, op_names, tensor_types
from edgekit.targets.coreml.interpret.read_program import read_functions
from edgekit.targets.coreml.interpret.unsupported import refuse_huge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from edgekit.targets.coreml.interpret.features import Feature
    from edgekit.targets.coreml.interpret.program import Function, TensorType


class MilSession:
    """One saved ML program. `inputs`, `outputs` and `states` are Features in the package's order.

    What this is: the package is read back from disk (specification and weight file, nothing from memory), and
    each operation is computed with numpy in float32; every tensor that the program declares float16 is then
    rounded to float16. Integer, bool and quantized codes are exact.

    What this is not: Apple's compiler and hardware have not seen it. The Neural Engine and the GPU may
    accumulate in float16, fuse operations, or keep more precision between them, and may refuse what this
    evaluates.

    `function` names one of several functions; None takes the package's default one. BundleError: the package
    is damaged or leaves its folder. CannotRunHere: no coremltools, no ML program, or an op without a formula.
    """

    def __init__(self, package: Path, function: str | None = None) -> None:
        opened = open_package(package)
        functions = read_functions(opened)
        description = opened.model.description
        chosen = function or description.defaultFunctionName or "main"
        if chosen not in functions:
            raise BundleError(
                f"{package.name} has no function '{chosen}'", fix=f"choose one of: {', '.join(functions)}"
            )
        self._function: Function = functions[chosen]
        _refuse_unknown(self._function, package.name)
        for item in description.functions:
            description = item if item.name == chosen else description
        self._name = package.name
        self.states = describe_states(self._function)
        self.inputs: tuple[Feature, ...] = describe_inputs(self._function, description)
        self.outputs: tuple[Feature, ...] = describe_outputs(
            self.tensors, description, self._function.block.outputs
        )
        self._constants = fold_constants(self._function)

    @property
    def tensors(self) -> dict[str, TensorType]:
        """Declared dtype and shape of every tensor of the function, constants included."""
        return tensor_types(self._function)

    @property
    def op_names(self) -> list[str]:
        """Op types in the program's order, constants left out."""
        return op_names(self._function.block)

    @property
    def function(self) -> Function:
        """The function that runs, as read from the package."""
        return self._function

    def new_state(self) -> dict[str, np.ndarray]:
        """Zeros for each state, as a fresh Core ML state has."""
        return {item.name: np.zeros(_fixed(item), STORAGE[item.dtype]) for item in self.states}

    def run(
        self,
        feeds: Mapping[str, np.ndarray],
        taps: Sequence[str] = (),
        *,
        state: dict[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """Outputs by name, plus each tapped tensor of the program (names it has not are left out).

        `state` (see `new_state`) is updated in place; None starts from zeros, so that two runs are alike.
        SamplesError: an input is missing, unknown, or of another dtype or shape than the package takes.
        """
        scope: dict[str, Any] = self._constants | self._accept(feeds)
        held = {name: State(value) for name, value in (state or self.new_state()).items()}
        evaluation = Evaluation(frozenset(taps))
        results = evaluation.block(self._function.block, scope | held)
        if state is not None:
            state |= {name: item.value for name, item in held.items()}
        named = dict(zip(self._function.block.outputs, results, strict=True))
        tapped = {name: scope[name] for name in taps if name in scope}
        return evaluation.kept | tapped | {item.name: named[item.name] for item in self.outputs}

    def _accept(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        known = {item.name for item in self.inputs}
        for name in feeds.keys() - known:
            raise SamplesError(
                f"{self._name} has no input '{name}'", fix=f"feed only: {', '.join(sorted(known))}"
            )
        for name in sorted(known - feeds.keys()):
            raise SamplesError(f"input '{name}' is not fed", fix=f"feed all of: {', '.join(sorted(known))}")
        return {item.name: item.accept(feeds[item.name]) for item in self.inputs}


def _refuse_unknown(function: Function, name: str) -> None:
    unknown = unknown_ops(function)
    if unknown:
        raise CannotRunHere(
            f"{name} has operations without a formula here: {', '.join(unknown)}",
            fix="run it on a Mac, or build the model without them",
        )


def _fixed(state: Feature) -> tuple[int, ...]:
    shape = tuple(size for size in state.shape if size is not None)
    if len(shape) != len(state.shape):
        raise CannotRunHere(f"state '{state.name}' has no fixed shape", fix="run it on a Mac")
    refuse_huge(shape)
    return shape

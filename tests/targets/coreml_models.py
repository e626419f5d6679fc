"""The way through target coreml for its tests: prepare, check, build, open, and read the saved program."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import onnx_ir as ir

from edgekit._values import Component, DimRange
from edgekit.passes.expand_functions import expand_functions
from edgekit.passes.prepare_component import prepare_component
from edgekit.profiles.loader import load_device
from edgekit.target import Job
from edgekit.targets.coreml import CoreML
from edgekit.targets.coreml.interpret.package import open_package
from edgekit.targets.coreml.interpret.program import Operation, Ref, walk
from edgekit.targets.coreml.interpret.read_program import read_functions
from edgekit.targets.coreml.session import CoreMLSession

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import onnx

    from edgekit._values import Artifact, Gap, Precision

TARGET = CoreML()
GENERIC = next(path for path in TARGET.devices() if path.stem == "generic-coreml")
Shapes: TypeAlias = "Mapping[str, tuple[int | tuple[int, int], ...]]"


@dataclass(frozen=True)
class Ask:
    """What one test wants built."""

    precision: Precision = "fp32"
    software: str = "ios-17"
    options: Mapping[str, str] = field(default_factory=dict)
    shapes: Shapes = field(default_factory=dict)

    @property
    def job(self) -> Job:
        device = load_device(GENERIC, self.software)
        return Job(device, self.precision, shapes=ranges_of(self.shapes), options=self.options)


def ranges_of(shapes: Shapes) -> dict[str, tuple[DimRange, ...]]:
    return {
        name: tuple(DimRange(*dim) if isinstance(dim, tuple) else DimRange(dim, dim) for dim in dims)
        for name, dims in shapes.items()
    }


def prepared(model: onnx.ModelProto | Path, ask: Ask | None = None) -> Component:
    """The component as a convert hands it to the target."""
    ask = ask or Ask()
    loaded = ir.load(model) if isinstance(model, Path) else ir.from_proto(model)
    component = prepare_component(Component("model", loaded, "0" * 64), shapes=ranges_of(ask.shapes))
    expand_functions(component.model, TARGET.plan([component], ask.job).expand)
    return component


def errors_of(model: onnx.ModelProto | Path, ask: Ask | None = None) -> list[Gap]:
    """What stops the build."""
    ask = ask or Ask()
    return [gap for gap in TARGET.check([prepared(model, ask)], ask.job) if gap.severity == "error"]


def build(model: onnx.ModelProto | Path | Component, out: Path, ask: Ask | None = None) -> Artifact:
    ask = ask or Ask()
    component = model if isinstance(model, Component) else prepared(model, ask)
    return TARGET.build([component], ask.job, out)[0]


def run(
    model: onnx.ModelProto | Path | Component,
    feeds: Mapping[str, np.ndarray],
    out: Path,
    ask: Ask | None = None,
) -> dict[str, np.ndarray]:
    """The outputs of the saved package."""
    session = TARGET.open(build(model, out, ask), out)
    return session.run(feeds)


@dataclass(frozen=True)
class Saved:
    """The program of a package, as read back from disk."""

    operations: tuple[Operation, ...]

    @property
    def codes(self) -> list[str]:
        """Operations in order, without constants."""
        return [item.type for item in self.operations if item.type != "const"]

    def makers(self) -> dict[str, Operation]:
        return {output.name: item for item in self.operations for output in item.outputs}

    def users(self, name: str) -> list[Operation]:
        """Operations that read a value."""
        return [
            item
            for item in self.operations
            if any(
                isinstance(ref, Ref) and ref.name == name for given in item.inputs.values() for ref in given
            )
        ]

    def value(self, operation: Operation, parameter: str) -> Any:
        """The constant that a parameter holds, through the `const` operation where there is one."""
        given = operation.inputs[parameter][0]
        return self.makers()[given.name].value if isinstance(given, Ref) else given


def read_back(package: Path) -> Saved:
    function = read_functions(open_package(package))["main"]
    return Saved(tuple(walk(function.block)))


def description_of(package: Path) -> Any:
    """Core ML's own description message of the saved model."""
    return open_package(package).model.description


def open_saved(artifact: Artifact, folder: Path) -> CoreMLSession:
    return CoreMLSession(folder / artifact.main, artifact.tensors)

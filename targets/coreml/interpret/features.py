"""The inputs, outputs and states that a package describes, and the check of what is fed to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import BundleError, SamplesError
from edgekit.targets.coreml.interpret.program import STORAGE

if TYPE_CHECKING:
    from edgekit.targets.coreml.interpret.program import Function, TensorType

_COLORS = {10: "GRAYSCALE", 20: "RGB", 30: "BGR", 40: "GRAYSCALE_FLOAT16"}


@dataclass(frozen=True)
class Feature:
    """One input, output or state of a function.

    dtype and shape are the program's own (None: a dim known at run time only). `color` is the colour layout
    where the package says that the feature is an image, else None. `shapes` are the sizes an input may have
    where the package enumerates them, `ranges` the (low, high) of each dim where it gives ranges (high None:
    no bound).
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    color: str | None = None
    shapes: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[tuple[int, int | None], ...] = ()

    def accept(self, value: Any) -> np.ndarray:
        """The fed value in the feature's dtype; SamplesError where it has another kind, shape or range.

        Numbers are converted as Core ML converts them: any float width to the feature's, integers that fit.
        An image input takes the program's own tensor [1, C, H, W] (0..255, in the package's colour order), or
        a uint8 picture: [H, W, 3] in RGB order, [H, W] in grey.
        """
        array = np.asarray(value)
        if self.color is not None:
            array = _unfold_picture(array, self.color)
        storage = np.dtype(STORAGE[self.dtype])
        kinds = {"f": "f", "i": "iu", "u": "iu", "b": "b"}.get(storage.kind, storage.kind)
        if array.dtype.kind not in kinds and not (self.color and array.dtype.kind == "u"):
            raise self._refused(array)
        if not self._fits(array.shape):
            raise self._refused(array)
        converted = array.astype(storage)
        if array.dtype.kind in "iu" and not np.array_equal(converted, array):
            raise SamplesError(
                f"input '{self.name}' holds integers that {self.dtype} cannot",
                fix="feed values in the input's range",
            )
        return converted

    def _fits(self, shape: tuple[int, ...]) -> bool:
        if len(shape) != len(self.shape):
            return False
        fixed = all(want in (None, size) for want, size in zip(self.shape, shape, strict=True))
        listed = not self.shapes or shape in self.shapes
        within = not self.ranges or all(
            low <= size <= (size if high is None else high)
            for (low, high), size in zip(self.ranges, shape, strict=True)
        )
        return fixed and listed and within

    def _refused(self, array: np.ndarray) -> SamplesError:
        dims = ", ".join("?" if size is None else str(size) for size in self.shape)
        allowed = f" (one of {[list(shape) for shape in self.shapes]})" if self.shapes else ""
        allowed = f" (within {[list(pair) for pair in self.ranges]})" if self.ranges else allowed
        return SamplesError(
            f"input '{self.name}' is {array.dtype}{list(array.shape)}, the package takes "
            f"{self.dtype}[{dims}]{allowed}",
            fix="give samples of the dtype and shape that the artifact was built for",
        )


def describe_inputs(function: Function, description: Any) -> tuple[Feature, ...]:
    """The function's inputs in the description's order; states are not among them."""
    declared = {item.name: item.type for item in function.inputs}
    return tuple(_describe(item, declared.get(item.name)) for item in description.input)


def describe_states(function: Function) -> tuple[Feature, ...]:
    """The function's state inputs."""
    return tuple(
        Feature(item.name, item.type.dtype, item.type.shape)
        for item in function.inputs
        if item.type is not None and item.type.kind == "state"
    )


def describe_outputs(
    types: dict[str, TensorType], description: Any, results: tuple[str, ...]
) -> tuple[Feature, ...]:
    """The outputs in the description's order; a classifier's dictionary has its label's name and "_probs"."""
    features = []
    for item in description.output:
        if item.name not in results:
            raise BundleError(
                f"the package describes an output '{item.name}' that its program does not give",
                fix="build the package again",
            )
        features.append(_describe(item, types.get(item.name)))
    return tuple(features)


def _describe(item: Any, declared: TensorType | None) -> Feature:
    if declared is None:
        if item.type.WhichOneof("Type") == "dictionaryType":
            return Feature(item.name, "float32", (None,))
        raise BundleError(
            f"the package describes '{item.name}', which its program has no tensor for",
            fix="build the package again",
        )
    image = item.type.imageType
    color = _COLORS.get(image.colorSpace) if item.type.WhichOneof("Type") == "imageType" else None
    array = item.type.multiArrayType
    shapes = tuple(tuple(map(int, shape.shape)) for shape in array.enumeratedShapes.shapes)
    ranges = tuple(
        (int(size.lowerBound), int(size.upperBound) if size.upperBound >= 0 else None)
        for size in array.shapeRange.sizeRanges
    )
    return Feature(item.name, declared.dtype, declared.shape, color, shapes, ranges)


def _unfold_picture(array: np.ndarray, color: str) -> np.ndarray:
    """uint8 [H, W, 3] in RGB or [H, W] -> [1, C, H, W] in the package's colour order; other arrays stay."""
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[-1] == 3:
        ordered = array[..., ::-1] if color == "BGR" else array
        return ordered.transpose(2, 0, 1)[None].astype(np.float32)
    if array.dtype == np.uint8 and array.ndim == 2:
        return array[None, None].astype(np.float32)
    return array.astype(np.float32) if array.dtype == np.uint8 else array

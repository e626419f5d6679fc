"""The inputs and outputs of a saved package, as Core ML's clients must name and type them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.errors import BundleError
from edgekit.targets.coreml.interpret.package import open_package
from edgekit.targets.coreml.session import IO_KEY

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._values import Artifact

ENDING = ".mlpackage"
# ArrayFeatureType.ArrayDataType of Core ML's specification.
_DTYPES = {65552: "float16", 65568: "float32", 65600: "float64", 131080: "int8", 131104: "int32"}


@dataclass(frozen=True)
class Port:
    """One input or output. `source` is the ONNX model's name, `name` Core ML's.

    dtype: Core ML's, or `image` or `state`. shape: sizes, None where the package gives a range. rank: the
    source's (0 is [1] in Core ML). result: of a state, the source's output that it takes over.
    """

    source: str
    name: str
    dtype: str
    shape: tuple[int | None, ...]
    rank: int
    result: str = ""


def read_ports(package: Path) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """(inputs, then states; outputs), each in the package's order. BundleError for a damaged package."""
    description = open_package(package).model.description
    text = description.metadata.userDefined.get(IO_KEY, "{}")
    try:
        given = json.loads(text)
        known = {row["coreml"]: row for kind in given.values() for row in kind}
        return (
            tuple(_port(item, known) for item in (*description.input, *description.state)),
            tuple(_port(item, known) for item in description.output),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{package.name} does not say how its inputs stand for the model's",
            fix="build it again with edgekit",
        ) from error


def package_of(artifact: Artifact) -> str:
    """The package folder that an artifact's files lie in, relative to where it was built."""
    for name in (artifact.main, *artifact.files):
        parts = name.split("/")
        for depth, part in enumerate(parts, 1):
            if part.endswith(ENDING):
                return "/".join(parts[:depth])
    raise BundleError(f"artifact '{artifact.main}' holds no {ENDING}", fix="build it again with edgekit")


def _port(item: Any, known: dict[str, Any]) -> Port:
    row = known.get(item.name, {})
    kind = item.type.WhichOneof("Type")
    image = kind == "imageType"
    array = item.type.stateType.arrayType if kind == "stateType" else item.type.multiArrayType
    words = {"imageType": "image", "stateType": "state"}
    ranges = [(int(one.lowerBound), int(one.upperBound)) for one in array.shapeRange.sizeRanges]
    sizes: tuple[int | None, ...] = tuple(int(size) for size in array.shape)
    if ranges:
        sizes = tuple(low if low == high else None for low, high in ranges)
    if image:
        sizes = (int(item.type.imageType.height), int(item.type.imageType.width))
    return Port(
        source=str(row.get("name", item.name)),
        name=item.name,
        dtype=words.get(str(kind)) or _DTYPES.get(array.dataType, "unknown"),
        shape=sizes,
        rank=int(row.get("rank", len(sizes))),
        result=str(row.get("output", "")),
    )

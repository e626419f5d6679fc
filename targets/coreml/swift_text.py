"""Swift source text: string literals and identifiers out of names that a model brings, and one class."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgekit.targets.coreml.package_io import Port

# Reserved words of Swift 5 and 6, as The Swift Programming Language lists them (lexical structure).
_RESERVED = frozenset(
    """
    Any Protocol Self Type as associatedtype await break case catch class continue default defer
    deinit do else enum extension fallthrough false fileprivate for func guard if import in init
    inout internal is let nil open operator precedencegroup private protocol public repeat rethrows
    return self static struct subscript super switch throw throws true try typealias var where while
    """.split()  # noqa: SIM905 - one list of words
)
_SCALARS = {"float32": "Float", "float16": "Float16", "float64": "Double", "int32": "Int32"}
# What the class gets where the package holds states, which came with macOS 15 and iOS 18.
_WITH_STATE = {
    "STATE_WORDS": (
        "/// What the model keeps from call to call begins as zeros; `reset()` makes it so again.\n"
        "/// One call at a time: the calls share it.\n"
        "@available(macOS 15.0, iOS 18.0, *)\n"
    ),
    "STATE_HELD": "\n    private var state: MLState",
    "STATE_MADE": "\n        state = model.makeState()",
    "STATE_RESET": (
        "\n\n    /// Begin anew.\n    public func reset() {\n        self.state = model.makeState()\n    }"
    ),
    "STATE_USED": ", using: self.state",
}
# Names that the class body itself uses.
_TAKEN = frozenset(["features", "result", "model", "place", "configuration"])


def swift_string(text: str) -> str:
    """A Swift string literal: quotes, backslashes (so no interpolation) and all outside ASCII escaped."""
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if " " <= char <= "~":
        return char
    code = ord(char)
    return f"\\u{{{code if not 0xD800 <= code < 0xE000 else 0xFFFD:x}}}"


def swift_identifiers(names: Iterable[str]) -> tuple[str, ...]:
    """One identifier a name, made of its letters and digits; no reserved word, no two alike."""
    taken: set[str] = set(_TAKEN)
    found = []
    for name in names:
        words = re.findall(r"[A-Za-z0-9]+", name)[:8]
        wish = "".join(word if not place else word[0].upper() + word[1:] for place, word in enumerate(words))[
            :60
        ]
        wish = wish or "tensor"
        wish = f"_{wish}" if wish[0].isdigit() else wish
        wish = f"{wish}_" if wish in _RESERVED else wish
        free, number = wish, 1
        while free in taken:
            number += 1
            free = f"{wish}_{number}"
        taken.add(free)
        found.append(free)
    return tuple(found)


def class_fields(
    inputs: Sequence[Port], outputs: Sequence[Port], *, package: str, name: str
) -> Mapping[str, str] | None:
    """What fills EdgekitModel.swift; None without inputs, or where a dtype has no Swift type.

    Inputs that are states are held by the class from call to call.
    """
    states = [port for port in inputs if port.dtype == "state"]
    inputs = [port for port in inputs if port.dtype != "state"]
    if not inputs or any(port.dtype not in (*_SCALARS, "image") for port in inputs):
        return None
    if any(port.dtype not in _SCALARS for port in outputs):
        return None
    given = swift_identifiers(port.name for port in inputs)
    made = swift_identifiers(port.name for port in outputs)
    resource = package.rpartition("/")[2].removesuffix(".mlpackage")
    return {
        "FILE": package,
        "CLASS": name,
        "RESOURCE": resource,
        "RESOURCE_LITERAL": swift_string(resource),
        "INPUTS": _shapes(inputs),
        "OUTPUTS": _shapes(outputs),
        **(_WITH_STATE if states else dict.fromkeys(_WITH_STATE, "")),
        "FIELDS": _lines(
            f"        public let {one}: {_type(port)}" for one, port in zip(made, outputs, strict=True)
        ),
        "PARAMETERS": _lines(
            (f"        {one}: {_type(port)}" for one, port in zip(given, inputs, strict=True)), ","
        ),
        "FEEDS": _lines(
            (
                f"            {swift_string(port.name)}: MLFeatureValue({_label(port)}: {one})"
                for one, port in zip(given, inputs, strict=True)
            ),
            ",",
        ),
        "RESULTS": _lines(
            (
                f"            {one}: try Self.array({swift_string(port.name)}, of: result)"
                for one, port in zip(made, outputs, strict=True)
            ),
            ",",
        ),
    }


def fill(template: str, fields: Mapping[str, str]) -> str:
    """The template with each @FIELD@ replaced in one pass: what a field holds is never looked at again."""
    parts = template.split("@")
    return "".join(fields[part] if index % 2 else part for index, part in enumerate(parts))


def _lines(lines: Iterable[str], end: str = "") -> str:
    return f"{end}\n".join(lines)


def _type(port: Port) -> str:
    return "CVPixelBuffer" if port.dtype == "image" else f"MLShapedArray<{_SCALARS[port.dtype]}>"


def _label(port: Port) -> str:
    return "pixelBuffer" if port.dtype == "image" else "shapedArray"


def _shapes(ports: Sequence[Port]) -> str:
    """dtypes and shapes only: names out of a model stay out of comments."""
    return ", ".join(
        f"{port.dtype}[{', '.join('?' if size is None else str(size) for size in port.shape)}]"
        for port in ports
    )

"""Loading code in Kotlin and Swift with the artifact's real inputs and outputs; it is not compiled here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgekit._values import TensorInfo

# numpy dtype -> (Kotlin OnnxJavaType, Swift ORTTensorElementDataType); None where the API has no such type.
_TYPES: dict[str, tuple[str | None, str | None]] = {
    "float32": ("FLOAT", "float"),
    "float64": ("DOUBLE", None),
    "float16": ("FLOAT16", None),
    "int8": ("INT8", "int8"),
    "uint8": ("UINT8", "uInt8"),
    "int16": ("INT16", None),
    "int32": ("INT32", "int32"),
    "int64": ("INT64", "int64"),
    "uint32": (None, "uInt32"),
    "uint64": (None, "uInt64"),
    "bool": ("BOOL", None),
}


@dataclass(frozen=True)
class Snippet:
    """What the templates say of one artifact. `file` is a plain file name."""

    file: str
    class_name: str
    runtime: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


def kotlin(snippet: Snippet) -> str | None:
    """An Android class, or None where the Java API has no such input dtype (string, uint32)."""
    if any(_type(info)[0] is None for info in snippet.inputs):
        return None
    parameters, tensors = [], []
    for index, info in enumerate(snippet.inputs):
        dims = _dims(index, info)
        parameters.append(f"        input{index}: ByteBuffer,")
        parameters += [f"        {dim}: Long," for dim in dims if not dim.isdigit()]
        shape = ", ".join(f"{dim}L" if dim.isdigit() else dim for dim in dims)
        tensors.append(
            f"            tensors[{kotlin_string(info.name)}] = OnnxTensor.createTensor(\n"
            f"                environment, input{index}, longArrayOf({shape}), "
            f"OnnxJavaType.{_type(info)[0]})"
        )
    return _fill("OrtModel.kt", snippet, kotlin_string, [parameters, tensors])


def swift(snippet: Snippet) -> str | None:
    """A Swift class, or None where the Objective-C API has no such input dtype (string, float16, double)."""
    if any(_type(info)[1] is None for info in snippet.inputs):
        return None
    parameters, tensors = [], []
    for index, info in enumerate(snippet.inputs):
        dims = _dims(index, info)
        parameters.append(f"        input{index}: Data,")
        parameters += [f"        {dim}: Int," for dim in dims if not dim.isdigit()]
        shape = ", ".join(dim if dim.isdigit() else f"NSNumber(value: {dim})" for dim in dims)
        tensors.append(
            f"        inputs[{swift_string(info.name)}] = try ORTValue(\n"
            f"            tensorData: NSMutableData(data: input{index}), elementType: .{_type(info)[1]}, "
            f"shape: [{shape}])"
        )
    if parameters:
        parameters[-1] = parameters[-1].removesuffix(",")
    return _fill("OrtModel.swift", snippet, swift_string, [parameters, tensors])


def kotlin_string(text: str) -> str:
    """A Kotlin string literal: quotes, backslashes, `$` and everything outside ASCII escaped."""
    return _literal(text, '"\\$', lambda code: "".join(f"\\u{unit:04x}" for unit in _utf16(code)))


def swift_string(text: str) -> str:
    """A Swift string literal: quotes, backslashes (so no interpolation) and non-ASCII escaped."""
    return _literal(text, '"\\', lambda code: f"\\u{{{code if not 0xD800 <= code < 0xE000 else 0xFFFD:x}}}")


def _literal(text: str, special: str, escape: Callable[[int], str]) -> str:
    def one(char: str) -> str:
        if char in special:
            return f"\\{char}"
        return char if " " <= char <= "~" else escape(ord(char))

    return '"' + "".join(map(one, text)) + '"'


def _utf16(code: int) -> list[int]:
    if code < 0x10000:
        return [code]
    code -= 0x10000
    return [0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF)]


def _dims(index: int, info: TensorInfo) -> list[str]:
    """Sizes, or a parameter name made here (never one out of the model) for a dim that is not fixed."""
    return [
        str(dim) if isinstance(dim, int) else f"input{index}Dim{axis}" for axis, dim in enumerate(info.shape)
    ]


def _type(info: TensorInfo) -> tuple[str | None, str | None]:
    return _TYPES.get(info.dtype, (None, None))


def _fill(
    template: str, snippet: Snippet, quote: Callable[[str], str], blocks: Sequence[Sequence[str]]
) -> str:
    text = (Path(__file__).parent / "templates" / template).read_text(encoding="utf-8")
    fields = {
        "FILE": snippet.file,
        "FILE_LITERAL": quote(snippet.file),
        "CLASS": snippet.class_name,
        "ORT": snippet.runtime,
        "PARAMETERS": "\n".join(blocks[0]),
        "TENSORS": "\n".join(blocks[1]),
        "OUTPUTS": ", ".join(quote(info.name) for info in snippet.outputs),
    }
    # One pass over the template: what a field holds is never looked at again.
    parts = text.split("@")
    return "".join(fields[part] if index % 2 else part for index, part in enumerate(parts))

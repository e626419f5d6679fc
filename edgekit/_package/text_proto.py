"""Plain values -> protobuf's text format, as config.pbtxt holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class Word:
    """The name of an enum value, which stands without quotes."""

    name: str


def render_message(fields: Mapping[str, object]) -> str:
    """One message, a field a line; a list is a repeated field, a mapping a message, None is left out.

    Map fields (key and value) are lists of {"key": ..., "value": ...}, as the text format writes them.
    """
    return "".join(f"{line}\n" for line in _lines(fields, ""))


def _lines(fields: Mapping[str, object], indent: str) -> Iterator[str]:
    for name, value in fields.items():
        for item in value if isinstance(value, list) else [value]:
            if item is None:
                continue
            if isinstance(item, dict):
                yield f"{indent}{name} {{"
                yield from _lines(item, f"{indent}  ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{name}: {_scalar(item)}"


def _scalar(value: object) -> str:
    if isinstance(value, Word):
        return value.name
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return f'"{_escaped(str(value))}"'


def _escaped(text: str) -> str:
    """Every byte that is no plain character as an octal escape."""
    plain = {byte: chr(byte) for byte in range(0x20, 0x7F)} | {0x22: '\\"', 0x5C: "\\\\", 0x0A: "\\n"}
    return "".join(plain.get(byte, f"\\{byte:03o}") for byte in text.encode())

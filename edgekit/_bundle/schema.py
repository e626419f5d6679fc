"""Checks JSON against the part of JSON Schema (draft 2020-12) that edgekit's own schemas use."""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from edgekit._strict_json import is_number
from edgekit.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Callable

_TYPES: dict[str, type] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "boolean": bool,
    "null": type(None),
}


@cache
def load_schema(name: str) -> dict[str, Any]:
    """One of the package's schemas, by file name."""
    text = files("edgekit").joinpath("schemas", name).read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def check_schema(value: object, schema: dict[str, Any], name: str) -> None:
    """BundleError names the first place where `value`, told as `name`, breaks the schema, and the rule."""
    try:
        _Checker(schema).check(value, schema, "")
    except _BrokenRuleError as error:
        raise BundleError(f"{name} at {error}", fix="take one that this version of edgekit reads") from None


class _BrokenRuleError(ValueError):
    """Where a value breaks its schema, and the rule."""


class _Checker:
    """Walks a value beside its schema; `where` is the JSON pointer told in a message."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._rules: dict[str, Callable[[Any, Any, str], None]] = {
            "type": self._check_type,
            "const": self._check_const,
            "enum": self._check_enum,
            "pattern": self._check_pattern,
            "maxLength": self._check_length,
            "maxItems": self._check_length,
            "minimum": self._check_minimum,
            "items": self._check_items,
            "anyOf": self._check_any,
            "$ref": self._check_ref,
        }

    def check(self, value: Any, schema: dict[str, Any] | bool, where: str) -> None:
        if isinstance(schema, bool):
            if not schema:
                raise _refusal(where, "is not allowed here")
            return
        for keyword, rule in self._rules.items():
            if keyword in schema:
                rule(value, schema[keyword], where)
        if isinstance(value, dict):
            self._check_object(value, schema, where)

    def _check_type(self, value: Any, names: str | list[str], where: str) -> None:
        allowed = [names] if isinstance(names, str) else names
        if not any(_is_type(value, name) for name in allowed):
            raise _refusal(where, f"must be {' or '.join(allowed)}")

    def _check_const(self, value: Any, wanted: Any, where: str) -> None:
        if value != wanted or type(value) is not type(wanted):
            raise _refusal(where, f"must be {wanted!r}")

    def _check_enum(self, value: Any, allowed: list[Any], where: str) -> None:
        if value not in allowed:
            raise _refusal(where, f"must be one of {', '.join(map(repr, allowed))}")

    def _check_pattern(self, value: Any, pattern: str, where: str) -> None:
        # Python's $ also matches before a last newline; JSON Schema's does not.
        strict = pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern
        if isinstance(value, str) and not re.search(strict, value):
            raise _refusal(where, f"must match {pattern}")

    def _check_length(self, value: Any, most: int, where: str) -> None:
        if isinstance(value, str | list) and len(value) > most:
            raise _refusal(where, f"is longer than {most}")

    def _check_minimum(self, value: Any, least: float, where: str) -> None:
        if isinstance(value, int | float) and not value >= least:
            raise _refusal(where, f"must be at least {least}")

    def _check_items(self, value: Any, schema: dict[str, Any], where: str) -> None:
        if isinstance(value, list):
            for index, item in enumerate(value):
                self.check(item, schema, f"{where}/{index}")

    def _check_any(self, value: Any, schemas: list[dict[str, Any]], where: str) -> None:
        refusals: list[_BrokenRuleError] = []
        for schema in schemas:
            try:
                return self.check(value, schema, where)
            except _BrokenRuleError as error:
                refusals.append(error)
        raise refusals[0]

    def _check_ref(self, value: Any, reference: str, where: str) -> None:
        self.check(value, self._root["$defs"][reference.removeprefix("#/$defs/")], where)

    def _check_object(self, value: dict[str, Any], schema: dict[str, Any], where: str) -> None:
        for name in schema.get("required", ()):
            if name not in value:
                raise _refusal(f"{where}/{name}", "is missing")
        properties = schema.get("properties", {})
        for name, item in value.items():
            if name in properties:
                self.check(item, properties[name], f"{where}/{name}")
            elif schema.get("additionalProperties") is False:
                close = get_close_matches(name, properties, n=1)
                raise _refusal(f"{where}/{name}", f"is unknown{f', near {close[0]!r}' if close else ''}")
            else:
                self.check(item, schema.get("additionalProperties", True), f"{where}/{name}")


def _is_type(value: object, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return is_number(value) if name == "number" else isinstance(value, _TYPES[name])


def _refusal(where: str, rule: str) -> _BrokenRuleError:
    shown = re.sub(r"[^ -~]", "?", where[:120]) or "/"
    return _BrokenRuleError(f"{shown}: {rule}")

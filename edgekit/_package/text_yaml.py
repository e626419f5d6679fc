"""YAML as text, from plain Python values: enough for the descriptions that platforms read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

# Words that YAML readers may take for something else than text.
_RESERVED = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_PAIR = re.compile(r"\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})")


def render_yaml(value: Mapping[str, object], indent: str = "") -> str:
    """Block style, keys in their own order; texts that are no plain words are quoted."""
    return "".join(_entry(f"{indent}{_text(key)}:", item, indent) for key, item in value.items())


def _entry(start: str, value: object, indent: str) -> str:
    inner = f"{indent}  "
    if isinstance(value, Mapping) and value:
        return f"{start}\n{render_yaml(value, inner)}"
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return f"{start}\n" + "".join(_item(one, inner) for one in value)
    return f"{start} {_scalar(value)}\n"


def _item(value: object, indent: str) -> str:
    if isinstance(value, Mapping) and value:
        first, *rest = render_yaml(value, f"{indent}  ").splitlines(keepends=True)
        return f"{indent}- {first.lstrip()}{''.join(rest)}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        # Flow style: a list within a list is a shape or an interval.
        return f"{indent}- [{', '.join(_scalar(one) for one in value)}]\n"
    return f"{indent}- {_scalar(value)}\n"


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, float):
        # "1e-07" is text to YAML 1.1, which wants a point.
        text = repr(value)
        return text if "." in text or "e" not in text else text.replace("e", ".0e")
    return "{}" if isinstance(value, Mapping) else "[]"


def _text(value: str) -> str:
    if _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    # JSON's quotes are YAML's, but for letters beyond 16 bits, which JSON writes as two.
    return _PAIR.sub(_one_letter, json.dumps(value))


def _one_letter(pair: re.Match[str]) -> str:
    high, low = (int(word, 16) for word in pair.groups())
    return f"\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"

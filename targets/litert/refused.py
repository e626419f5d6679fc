"""Why an op has no LiteRT form, and the way out: refused.toml, or that edgekit has written none."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._lowering import Refused

if TYPE_CHECKING:
    import onnx_ir as ir


def refusal(node: ir.Node) -> Refused | None:
    """What the table says of the node's op; None where it says nothing."""
    name = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
    row = _table().get(name)
    return None if row is None else Refused(row["why"], row["way_out"])


@cache
def _table() -> dict[str, dict[str, str]]:
    text = (Path(__file__).parent / "refused.toml").read_text(encoding="utf-8")
    found: dict[str, dict[str, str]] = tomllib.loads(text)
    return found

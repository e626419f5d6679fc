"""Reads what each runtime takes of memory for itself."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class RuntimeMemory:
    """Bytes beside weights and activations: least, typical, most, and where they come from."""

    least: float
    typical: float
    most: float
    source: str


@cache
def runtime_memory() -> dict[str, RuntimeMemory]:
    """Runtime -> its own memory, from runtimes.toml (MB there, bytes here)."""
    text = (Path(__file__).parent / "runtimes.toml").read_text(encoding="utf-8")
    return {
        name: RuntimeMemory(1e6 * row["least"], 1e6 * row["typical"], 1e6 * row["most"], row["source"])
        for name, row in tomllib.loads(text).items()
    }

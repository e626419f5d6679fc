"""Lets onnx_ir load sympy when it first computes with a symbolic dim, not when it is imported.

sympy is more than half of onnx_ir's import (0.25 s and 33 MB), and only arithmetic on symbolic dims
(`N + 1`) needs it. The standard library's LazyLoader stands in its place until then.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import LazyLoader
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

# The one module of onnx_ir that touches sympy while it is imported is late too.
_LATE = frozenset({"sympy", "onnx_ir._symbolic_shapes"})


class _LateFinder:
    """Finds these modules as usual while `onnx_ir` is being imported; no other import sees it."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        core = sys.modules.get("onnx_ir._core")
        if name not in _LATE or core is None or hasattr(core, "SymbolicDim"):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def load_sympy_late() -> None:
    """From now on; without effect where onnx_ir was imported before."""
    if "onnx_ir" not in sys.modules and _LateFinder not in sys.meta_path:
        sys.meta_path.insert(0, _LateFinder)

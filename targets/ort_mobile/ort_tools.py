"""onnxruntime's own mobile tools, imported without the torch that their package loads where there is one.

`onnxruntime.tools` imports torch for one helper of its own: a second and 200 MB, and nothing here uses it.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator


def import_tools(name: str) -> Any:
    """The module `onnxruntime.tools.<name>`."""
    with _without_torch():
        return import_module(f"onnxruntime.tools.{name}")


@contextmanager
def _without_torch() -> Iterator[None]:
    """A None in sys.modules is what Python takes for a module that cannot be found."""
    if "torch" in sys.modules or "onnxruntime.tools" in sys.modules:
        yield
        return
    modules = cast("dict[str, object]", sys.modules)
    modules["torch"] = None
    try:
        yield
    finally:
        del modules["torch"]

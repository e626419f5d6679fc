"""`package.module:factory`: the user's own function that gives a PyTorch module to export."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit.errors import EdgekitError, SourceError
from edgekit.sources.explain_export import user_line
from edgekit.sources.import_named import import_named
from edgekit.sources.torch_component import read_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgekit.sources.torch_component import TorchSource

_FIX = "it takes no arguments and returns (module, inputs) or (module, inputs, dynamic)"
_HOLLOW_FIX = (
    "parameters have no numbers to compute with under --shape-only and --random-weights: leave the option "
    f"out if it runs without; {_FIX}"
)
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_factory(text: str) -> bool:
    """Whether a model is named as `package.module:factory`."""
    return _FACTORY.fullmatch(text) is not None


def call_factory(text: str, *, shape_only: bool = False) -> TorchSource:
    """What the factory gives. It is imported from sys.path or the current folder, and called once.

    SourceError for one that can't be imported, raises, or returns something else than components.
    shape_only: its modules' parameters take no memory.
    """
    try:
        factory = import_named(text)
    except Exception as error:
        raise SourceError(
            f"factory '{text}' can't be imported: {type(error).__name__}: {error}{_at(error)}",
            fix="name a function of a module that lies in the current folder or is installed",
        ) from error
    try:
        given = _call_hollow(factory) if shape_only else factory()
    except EdgekitError:
        raise
    except Exception as error:
        raise SourceError(
            f"factory '{text}' raised {type(error).__name__}: {error}{_at(error)}",
            fix=_HOLLOW_FIX if shape_only else _FIX,
        ) from error
    source = read_source(given, f"factory '{text}'")
    if not shape_only:
        return source
    from edgekit.sources.weightless import fill_hollow

    fill_hollow(part.module for part in source.components.values())
    return replace(source, shape_only=True)


def _call_hollow(factory: Callable[[], object]) -> object:
    from edgekit.sources.weightless import without_weights

    with without_weights():
        return factory()


def _at(error: Exception) -> str:
    line = user_line(error)
    return f" at {line}" if line else ""

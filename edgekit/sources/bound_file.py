"""An ONNX file some of whose inputs are always the same (a sample rate): they become constants."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import UsageError
from edgekit.passes.bind_inputs import bind_inputs
from edgekit.sources.graph_io import inputs_of
from edgekit.sources.onnx_file import load_onnx

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgekit._values import Component, TensorInfo


def load_bound(path: Path, bind: Mapping[str, str], *, name: str = "model") -> Component:
    """The model at `path` with each input named in `bind` held at that value, numbers as `16000` or `1,0`.

    Without any, what `load_onnx` gives. `digest` stays that of the file; `source` is None, for no file
    holds the bound model. Raises what `load_onnx` and `bind_inputs` raise; UsageError for text that is
    no number.
    """
    component = load_onnx(path, name=name)
    if not bind:
        return component
    known = {info.name: info for info in inputs_of(component.model)}
    model = component.model.clone()
    bind_inputs(model, {given: _read_value(given, text, known.get(given)) for given, text in bind.items()})
    return replace(component, model=model, source=None)


def _read_value(name: str, text: str, info: TensorInfo | None) -> np.ndarray:
    """The numbers in the input's dtype and number of axes; an unknown input is left to `bind_inputs`."""
    dtype = np.dtype(info.dtype if info is not None else "float32")
    try:
        numbers = [float(part) if dtype.kind == "f" else int(part) for part in text.split(",")]
        array = np.array(numbers, dtype)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"'{text}' is no {dtype} for input '{name}'", fix="write --bind NAME=16000, or NAME=1,0 for more"
        ) from error
    return array.reshape(()) if info is not None and not info.shape and array.size == 1 else array

"""Sketches of the data that a model is calibrated on: of its inputs, and of what its float graph gives."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit._monitor.device.sketch import Sketch, SketchError, draw_some, read_sketch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SCHEMA = "edgekit.sketches/1"
# So many numbers of a tensor of one sample, drawn at random: the others say little that these do not, for
# what sets the baseline's own error is how many samples there are.
_ELEMENTS = 4096
_KEYS = {"schema", "samples", "inputs", "outputs"}


class DataSketches:
    """Sketches by tensor over `samples` samples; the same samples in the same order give the same ones.

    Tensors that hold no numbers (texts) are left out.
    """

    def __init__(self) -> None:
        self.samples = 0
        self.inputs: dict[str, Sketch] = {}
        self.outputs: dict[str, Sketch] = {}
        self._draw = np.random.default_rng(0)

    def add(self, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        """Take in one sample: arrays by tensor."""
        self.samples += 1
        for found, arrays in ((self.inputs, inputs), (self.outputs, outputs)):
            for name in sorted(arrays):
                if arrays[name].dtype.kind in "fiub":
                    some = draw_some(arrays[name], _ELEMENTS, self._draw)
                    found.setdefault(name, Sketch(seed=0)).update(some)

    def to_json(self) -> str:
        """Canonical JSON: keys sorted, no spaces, one newline at the end."""
        row = {
            "schema": SCHEMA,
            "samples": self.samples,
            "inputs": {name: one.to_json() for name, one in self.inputs.items()},
            "outputs": {name: one.to_json() for name, one in self.outputs.items()},
        }
        return json.dumps(row, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"


def read_data_sketches(row: Any, inputs: Sequence[str], outputs: Sequence[str]) -> DataSketches:
    """From JSON, of a component with these tensors; ValueError says which rule a damaged one breaks."""
    if not isinstance(row, dict) or set(row) != _KEYS or row["schema"] != SCHEMA:
        raise ValueError(f"it is no {SCHEMA}")
    if type(row["samples"]) is not int or row["samples"] < 1:
        raise ValueError("samples is no whole number from 1 up")
    sketches = DataSketches()
    sketches.samples = row["samples"]
    sketches.inputs = _read_side(row["inputs"], inputs)
    sketches.outputs = _read_side(row["outputs"], outputs)
    return sketches


def _read_side(rows: Any, known: Sequence[str]) -> dict[str, Sketch]:
    if not isinstance(rows, dict) or not set(rows) <= set(known):
        raise ValueError("it holds sketches of tensors that the component does not have")
    try:
        return {name: read_sketch(one, seed=0) for name, one in rows.items()}
    except SketchError as error:
        raise ValueError(f"a sketch cannot be read: {error}") from error

"""Sketches of the data that a model is calibrated on: inputs, what its float graph gives, inner values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit._monitor.device.sketch import Sketch, SketchError, draw_some, read_sketch
from edgekit._strict_json import is_number

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

SCHEMA = "edgekit.sketches/1"
# So many numbers of a tensor of one sample, drawn at random: the others say little that these do not, for
# what sets the baseline's own error is how many samples there are.
_ELEMENTS = 4096
_KEYS = {"schema", "samples", "inputs", "outputs"}
_MORE = {"inner", "rounding"}
_SIDES = ("inputs", "outputs", "inner")

Roundings = dict[str, dict[str, float]]


class DataSketches:
    """Sketches by tensor over `samples` samples; the same samples in the same order give the same ones.

    Tensors that hold no numbers (texts) are left out. named: the inner tensors among what comes with the
    outputs. rounding: by variant, how far its own arithmetic moves an inner tensor (RMS, in its unit).
    """

    def __init__(self, named: Collection[str] = ()) -> None:
        self.samples = 0
        self.inputs: dict[str, Sketch] = {}
        self.outputs: dict[str, Sketch] = {}
        self.inner: dict[str, Sketch] = {}
        self.rounding: Roundings = {}
        self._named = named
        self._draw = np.random.default_rng(0)

    def add(self, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        """Take in one sample: arrays by tensor."""
        self.samples += 1
        self._take(self.inputs, inputs)
        self._take(self.outputs, {name: one for name, one in outputs.items() if name not in self._named})
        self._take(self.inner, {name: one for name, one in outputs.items() if name in self._named})

    def _take(self, found: dict[str, Sketch], arrays: Mapping[str, np.ndarray]) -> None:
        for name in sorted(arrays):
            if arrays[name].dtype.kind in "fiub":
                some = draw_some(arrays[name], _ELEMENTS, self._draw)
                found.setdefault(name, Sketch(seed=0)).update(some)

    def to_json(self, rounding: Roundings | None = None) -> str:
        """Canonical JSON: keys sorted, no spaces, one newline at the end; `inner` where something is."""
        row: dict[str, Any] = {"schema": SCHEMA, "samples": self.samples}
        for side in _SIDES:
            row[side] = {name: one.to_json() for name, one in getattr(self, side).items()}
        if self.inner:
            row["rounding"] = rounding or self.rounding
        else:
            del row["inner"]
        return json.dumps(row, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"


def read_data_sketches(row: Any, known: Mapping[str, Collection[str]]) -> DataSketches:
    """From JSON, of a component with these tensors by side (`inputs`, `outputs`, `inner`).

    ValueError says which rule a damaged one breaks.
    """
    if not isinstance(row, dict) or set(row) - _MORE != _KEYS or row["schema"] != SCHEMA:
        raise ValueError(f"it is no {SCHEMA}")
    if type(row["samples"]) is not int or row["samples"] < 1:
        raise ValueError("samples is no whole number from 1 up")
    sketches = DataSketches()
    sketches.samples = row["samples"]
    for side in _SIDES:
        setattr(sketches, side, _read_side(row.get(side, {}), known[side]))
    sketches.rounding = _read_roundings(row.get("rounding", {}), known["inner"])
    return sketches


def _read_side(rows: Any, known: Collection[str]) -> dict[str, Sketch]:
    if not isinstance(rows, dict) or not set(rows) <= set(known):
        raise ValueError("it holds sketches of tensors that the component does not have")
    try:
        return {name: read_sketch(one, seed=0) for name, one in rows.items()}
    except SketchError as error:
        raise ValueError(f"a sketch cannot be read: {error}") from error


def _read_roundings(rows: Any, known: Collection[str]) -> Roundings:
    tables = list(rows.values()) if isinstance(rows, dict) else [None]
    for table in tables:
        if not isinstance(table, dict) or not set(table) <= set(known):
            raise ValueError("rounding is no table of the inner tensors by variant")
        if not all(is_number(one) and one >= 0 for one in table.values()):
            raise ValueError("rounding holds what is no number from 0 up")
    return {variant: dict(table) for variant, table in rows.items()}

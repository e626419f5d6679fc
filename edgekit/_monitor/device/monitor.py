"""Watches one model on a device: what goes in, what comes out (and, if told, what lies between), how long it takes and what energy it takes.

This file runs on the device: standard library and numpy, Python 3.8.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import threading
import time
from typing import Any, Dict, List, Mapping, Optional

import numpy as np

from .prometheus import render
from .sketch import Sketch, take_places
from .timing import ENERGY_BOUNDS_J, LATENCY_BOUNDS_S, Timing

SCHEMA = "edgekit.field"
VERSION = 1
SIDES = ("inputs", "outputs", "inner")
# Numbers of a tensor wait until so many are there: sorting is what a sketch costs.
_WAITING = 4096
# Of so many inferences at most, the places in a tensor are drawn together.
_DRAWN = 32


class Monitor:
    """Sketches of inputs, outputs and inner values, and latency and energy of every inference, of one model.

    bundle_digest: of the bundle that the model came in (64 hexadecimal digits). component, variant: which of
    its artifacts runs. device: the name of this very device, told in reports. share: the part of the inference
    time that sketching may take; inferences are left out where it would take more, whatever their content.
    elements: so many numbers of a tensor, drawn anew each time, stand for a larger one. Safe to call from
    several threads.
    """

    def __init__(
        self,
        bundle_digest: str,
        component: str = "model",
        variant: str = "",
        device: str = "",
        share: float = 0.01,
        elements: int = 256,
    ) -> None:
        if len(bundle_digest) != 64 or set(bundle_digest) - set("0123456789abcdef"):
            raise ValueError("bundle_digest %r is no sha256 in 64 hexadecimal digits" % (bundle_digest,))
        if not 0.0 < share <= 1.0 or elements < 1:
            raise ValueError("share %r or elements %r is out of range" % (share, elements))
        self.bundle_digest = bundle_digest
        self.component = component
        self.variant = variant
        self.device = device or platform.node()
        self.started = time.time()
        self.latency = Timing(LATENCY_BOUNDS_S)
        self.energy = Timing(ENERGY_BOUNDS_J)
        self.spent_s = 0.0
        self.sketched = 0
        self._share = share
        self._elements = elements
        self._draw = np.random.default_rng()
        self._tensors: Dict[str, Dict[str, _Tensor]] = {side: {} for side in SIDES}
        self._lock = threading.Lock()

    def observe(
        self,
        inputs: Mapping[str, Any],
        outputs: Mapping[str, Any],
        latency_s: float,
        energy_j: Optional[float] = None,
        inner: Optional[Mapping[str, Any]] = None,
    ) -> None:
        """Take in one inference: arrays by tensor name, seconds, and joules where they are known.

        inner: values inside the model, where the runtime gives them, of tensors that the bundle sketched.
        ValueError for a latency or energy that is negative or not finite, or an array that holds no numbers.
        """
        begun = time.perf_counter()
        with self._lock:
            self.latency.add(latency_s)
            if energy_j is not None:
                self.energy.add(energy_j)
            if self.spent_s <= self._share * self.latency.total:
                self._sketch("inputs", inputs)
                self._sketch("outputs", outputs)
                self._sketch("inner", inner or {})
                self.sketched += 1
            self.spent_s += time.perf_counter() - begun

    def sketches(self, side: str) -> Dict[str, Sketch]:
        """The sketch of each tensor of `inputs`, `outputs` or `inner`."""
        return {name: tensor.take_in() for name, tensor in self._tensors[side].items()}

    def to_json(self) -> Dict[str, Any]:
        """Everything that was seen, in JSON types: `edgekit.field`, version 1. Times are Unix seconds."""
        with self._lock:
            sides = {
                side: {name: one.to_json() for name, one in self.sketches(side).items()} for side in SIDES
            }
            if not sides["inner"]:
                del sides["inner"]
            return {
                "schema": SCHEMA,
                "version": VERSION,
                "bundle": self.bundle_digest,
                "component": self.component,
                "variant": self.variant,
                "device": self.device,
                "started": self.started,
                "ended": time.time(),
                "sketched": self.sketched,
                "spent_s": self.spent_s,
                "latency_s": self.latency.to_json(),
                "energy_j": self.energy.to_json() if self.energy.count else None,
                **sides,
            }

    def write_json(self, path: str) -> None:
        """Write what was seen for `edgekit drift`; the file is whole at any moment."""
        _replace(path, json.dumps(self.to_json(), separators=(",", ":"), sort_keys=True) + "\n")

    def write_prometheus(self, path: str) -> None:
        """Write the text file of node-exporter's textfile collector; `path` ends in .prom."""
        if not path.endswith(".prom"):
            raise ValueError("%r does not end in .prom: node-exporter would not read it" % (path,))
        with self._lock:
            text = render(self)
        _replace(path, text)

    def _sketch(self, side: str, arrays: Mapping[str, Any]) -> None:
        known = self._tensors[side]
        for name, array in arrays.items():
            values = np.asarray(array)
            if values.dtype.kind not in "fiub":
                raise ValueError("%s %r holds %s, no numbers" % (side, name, values.dtype))
            if name not in known:
                known[name] = _Tensor(self._elements, self._draw)
            known[name].add(values)


class _Tensor:
    """The sketch of one tensor, with the numbers that wait to be taken in."""

    def __init__(self, elements: int, draw: np.random.Generator) -> None:
        self._sketch = Sketch()
        self._waiting: List[np.ndarray] = []
        self._count = 0
        self._elements = elements
        self._draw = draw
        self._places: List[np.ndarray] = []
        self._size = 0  # of the array that the places are drawn for
        self._drawn = 0

    def add(self, values: np.ndarray) -> None:
        some = values.flatten() if values.size <= self._elements else take_places(values, self._next(values.size))
        self._waiting.append(some)
        self._count += some.size
        if self._count >= _WAITING:
            self.take_in()

    def _next(self, size: int) -> np.ndarray:
        """Places to look at in an array of that size: others each time, drawn for many inferences at once.

        Right after an inference numpy's generator is in no cache: a call then takes 150 us, 8 us otherwise.
        """
        if size != self._size or not self._places:
            # One at first, then twice as many each time: an array whose size changes wastes none.
            self._drawn = 1 if size != self._size else min(2 * self._drawn, _DRAWN)
            self._size = size
            self._places = list(self._draw.integers(0, size, (self._drawn, self._elements)))
        return self._places.pop()

    def take_in(self) -> Sketch:
        if self._waiting:
            self._sketch.update(np.concatenate(self._waiting))
            self._waiting, self._count = [], 0
        return self._sketch


def _replace(path: str, text: str) -> None:
    """Write a file in one rename, readable by everybody: an exporter runs as another user."""
    folder = os.path.dirname(os.path.abspath(path))
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".edgekit-", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise

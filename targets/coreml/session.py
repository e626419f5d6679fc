"""Runs a saved .mlpackage on this host, under the source's names, dtypes and ranks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import BundleError, SamplesError
from edgekit.targets.coreml.interpret.package import open_package
from edgekit.targets.coreml.mac_session import open_program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

IO_KEY = "edgekit.io"
_INT32 = np.iinfo(np.int32)


class CoreMLSession:
    """One package in edgekit's MIL interpreter, on a Mac in Core ML itself.

    Core ML's int32 and fp32 stand for ONNX's other dtypes, and [1] for a scalar. `tensors` maps the source's
    tensor names to the package's own (an Artifact's `tensors`). A state that is fed under its input's name is
    set to that before the run; one that is not fed goes on from the run before, the first time from zeros.
    What it holds after the run is returned under its output's name; a cache has none.
    """

    def __init__(self, package: Path, tensors: Mapping[str, str] | None = None) -> None:
        self.program = open_program(package)
        self._tensors = tensors or {}
        self._name = package.name
        self._io = _read_io(package)
        self._states = self._io.get("states", [])
        self._kept: dict[str, np.ndarray] = {}

    def run(self, feeds: Mapping[str, np.ndarray], taps: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """All outputs by source name, and tapped tensors, in float32 where the program has float16."""
        given = {item["coreml"]: self._border(item, feeds) for item in self._io["inputs"]}
        own = {tap: self._tensors.get(tap, tap) for tap in taps}
        state = {item["coreml"]: self._border(item, feeds) for item in self._states if item["name"] in feeds}
        made = self._run(given, list(own.values()), state)
        results = {item["name"]: _as_source(item, made[item["coreml"]]) for item in self._io["outputs"]}
        results |= {
            item["output"]: _as_source(item, self._kept[item["coreml"]])
            for item in self._states
            if item["output"]
        }
        return {tap: _widened(made[name]) for tap, name in own.items() if name in made} | results

    def _run(
        self, given: dict[str, np.ndarray], taps: list[str], state: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        if not self._states:
            return self.program.run(given, taps)
        fresh = self._kept or self.program.new_state()
        self._kept = fresh | {name: value.astype(fresh[name].dtype) for name, value in state.items()}
        return self.program.run(given, taps, state=self._kept)

    def _border(self, item: Mapping[str, Any], feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        name = item["name"]
        if name not in feeds:
            known = ", ".join(row["name"] for row in self._io["inputs"])
            raise SamplesError(f"input '{name}' is not fed", fix=f"feed all of: {known}")
        value = np.asarray(feeds[name])
        if value.dtype.name != item["dtype"] or value.ndim != item["rank"]:
            raise SamplesError(
                f"input '{name}' is {value.dtype} of rank {value.ndim}, the model takes {item['dtype']} of "
                f"rank {item['rank']}",
                fix="give samples of the dtype and shape that the artifact was built for",
            )
        if value.dtype.kind in "iub":
            if value.size and (value.min() < _INT32.min or value.max() > _INT32.max):
                raise SamplesError(
                    f"input '{name}' leaves Core ML's 32-bit integers", fix="feed smaller integers"
                )
            value = value.astype(np.int32)
        else:
            value = value.astype(np.float32)
        if "image" in item:
            value = _pixels(value, item["image"])
        return value if item["rank"] else value.reshape(1)


def _pixels(value: np.ndarray, image: Mapping[str, Any]) -> np.ndarray:
    """The pixels 0..255 that the package turns into this value: [1, C, H, W], not rounded to whole ones."""
    bias = np.asarray(image["bias"], np.float32).reshape(1, -1, 1, 1)
    made: np.ndarray = (value - bias) / np.float32(image["scale"])
    return made


def _widened(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float32) if value.dtype == np.float16 else value


def _as_source(item: Mapping[str, Any], value: np.ndarray) -> np.ndarray:
    made = value.astype(item["dtype"])
    return made if item["rank"] else made.reshape(())


def _check_row(row: dict[str, Any]) -> None:
    """ValueError, KeyError or TypeError for a row that says too little."""
    np.dtype(row["dtype"])
    image = row.get("image", {"scale": 1.0, "bias": [0.0]})
    np.asarray([float(image["scale"]), *(float(item) for item in image["bias"])])
    if not isinstance(row["name"], str) or not isinstance(row["coreml"], str) or int(row["rank"]) < 0:
        raise ValueError(row)


def _read_io(package: Path) -> dict[str, Any]:
    text = open_package(package).model.description.metadata.userDefined.get(IO_KEY, "")
    try:
        found = json.loads(text)
        for row in (*found["inputs"], *found["outputs"], *found.get("states", [])):
            _check_row(row)
        for row in found.get("states", []):
            str(row["output"])
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{package.name} does not say how its inputs stand for the model's",
            fix="build it again with edgekit",
        ) from error
    return dict(found)

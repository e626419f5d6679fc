"""Proves an exported ONNX file against its module: two sets of inputs, two lengths of each open dim."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import ModelError
from edgekit.sources.explain_export import explain_run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgekit.sources.torch_component import DynamicDim, TorchComponent

    Arrays = dict[str, np.ndarray]

# Largest difference, as a share of the output's largest magnitude (of 1 at least); 2e-6 seen on decoders.
_TOLERANCE = {"float32": 1e-4, "float64": 1e-4, "float16": 2e-2}


def prove_export(path: Path, component: TorchComponent, label: str) -> float:
    """Run the file in ONNX Runtime beside the module; the largest share by which an output differs.

    ModelError where the file does not load or run, or an output is not the module's.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(
            f"{label}: the exported file does not load in ONNX Runtime: {str(error).splitlines()[0][:300]}",
            fix="export it in float32: module.float()",
        ) from error
    worst = 0.0
    for feeds in _feeds(component):
        want = _run_module(component, feeds, label)
        try:
            got = session.run(None, {value.name: feeds[value.name] for value in session.get_inputs()})
        except Exception as error:
            raise ModelError(
                f"{label}: the exported file does not run at {_sizes(component, feeds)}: "
                f"{str(error).splitlines()[0][:300]}",
                fix="narrow the range of that dim, or leave it fixed",
            ) from error
        names = [value.name for value in session.get_outputs()]
        for name, array, expected in zip(names, got, want, strict=True):
            worst = max(
                worst,
                _compare(np.asarray(array), expected, f"{label}, output '{name}'", _sizes(component, feeds)),
            )
    return worst


def _feeds(component: TorchComponent) -> list[Arrays]:
    """The examples, others at the same sizes, and others with every open dim at another length."""
    flat = {name: value.detach().cpu().numpy() for name, value in component.flat_inputs().items()}
    dims = component.flat_dims()
    lengths = {
        dim.name: _other_length(dim, flat[name].shape[axis])
        for name, by in dims.items()
        for axis, dim in by.items()
    }
    chosen: list[Arrays] = [flat, _redraw(flat, {}, seed=1)]
    if lengths:
        shapes = {
            name: tuple(
                lengths[by[axis].name] if axis in by else size for axis, size in enumerate(flat[name].shape)
            )
            for name, by in dims.items()
        }
        chosen.append(_redraw(flat, shapes, seed=2))
    return chosen


def _other_length(dim: DynamicDim, size: int) -> int:
    return size + 1 if dim.high is None or size < dim.high else max(size - 1, dim.low)


def _redraw(flat: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], *, seed: int) -> Arrays:
    """Numbers like the examples': normal with their mean and spread, integers and bools out of theirs."""
    random = np.random.default_rng(seed)
    drawn: Arrays = {}
    for name, array in flat.items():
        shape = shapes.get(name, array.shape)
        if array.dtype.kind == "f" and array.size:
            spread = float(array.std()) or 1.0
            drawn[name] = np.asarray(array.mean() + spread * random.standard_normal(shape), array.dtype)
        else:
            drawn[name] = np.asarray(random.choice(array.ravel(), shape), array.dtype)
    return drawn


def _run_module(component: TorchComponent, feeds: Arrays, label: str) -> list[np.ndarray]:
    import torch
    from torch.utils import _pytree as pytree

    given: dict[str, Any] = {}
    for argument, value in component.inputs.items():
        if isinstance(value, (list, tuple)):
            given[argument] = [torch.from_numpy(feeds[f"{argument}_{index}"]) for index in range(len(value))]
        else:
            given[argument] = torch.from_numpy(feeds[argument])
    with torch.no_grad():
        try:
            outputs = component.module(**given)
        except Exception as error:
            raise explain_run(error, component.module, f"{label} at {_sizes(component, feeds)}") from error
    return [one.detach().cpu().numpy() for one in pytree.tree_leaves(outputs) if one is not None]


def _compare(got: np.ndarray, want: np.ndarray, what: str, sizes: str) -> float:
    """The share by which an output differs; ModelError above the tolerance."""
    if got.shape != want.shape or got.dtype != want.dtype:
        raise ModelError(
            f"{what} is {got.dtype}{list(got.shape)} in the exported file and {want.dtype}{list(want.shape)} "
            f"in the module, at {sizes}",
            fix="a size was fixed while exporting: leave that dim out of the dynamic ones",
        )
    if want.dtype.kind != "f":
        share = float(np.mean(got != want)) if want.size else 0.0
        limit = 0.0
    else:
        apart = np.abs(got.astype(np.float64) - want)
        share = float(apart.max(initial=0.0) / max(1.0, float(np.abs(want).max(initial=0.0))))
        limit = _TOLERANCE.get(want.dtype.name, 1e-4)
    if not share <= limit:
        raise ModelError(
            f"{what} differs from the module's by {share:.2g} of its range (at most {limit:.2g}), at {sizes}",
            fix="export in eval mode, without random numbers in forward",
        )
    return share


def _sizes(component: TorchComponent, feeds: Arrays) -> str:
    found = {
        dim.name: feeds[name].shape[axis]
        for name, by in component.flat_dims().items()
        for axis, dim in by.items()
    }
    return ", ".join(f"{name}={size}" for name, size in found.items()) or "the example's sizes"

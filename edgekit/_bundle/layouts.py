"""Inputs and outputs that an artifact holds in another layout: shapes and golden data follow it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgekit._verify.golden import Golden, GoldenSample

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgekit._bundle.draft import BundleDraft, ComponentDraft
    from edgekit._values import Artifact, TensorInfo

    Arrays = Mapping[str, np.ndarray]

# Layout -> the source's axes in the file's order, and the way back; both for NCHW in the source.
_ORDERS = {"NHWC": (0, 2, 3, 1)}
_BACK = {"NHWC": (0, 3, 1, 2)}


def layouts_of(component: str, artifacts: Iterable[Artifact]) -> Mapping[str, str]:
    """Tensor -> layout of a component's artifacts, which all have the same."""
    found = [artifact.layouts for artifact in artifacts if artifact.component == component]
    return found[0] if found else {}


def in_file_layout(draft: BundleDraft) -> BundleDraft:
    """The draft with its components' shapes, layout names and golden data as the files have them."""
    components = tuple(_component(item, layouts_of(item.name, draft.artifacts)) for item in draft.components)
    return replace(draft, components=components)


def _component(component: ComponentDraft, layouts: Mapping[str, str]) -> ComponentDraft:
    if not layouts:
        return component
    return replace(
        component,
        inputs=tuple(_laid(tensor, layouts) for tensor in component.inputs),
        outputs=tuple(_laid(tensor, layouts) for tensor in component.outputs),
        golden=_moved(component.golden, layouts, _ORDERS),
    )


def in_source_layout(golden: Golden, layouts: Mapping[str, str]) -> Golden:
    """Golden data of a bundle as the source model has them."""
    return _moved(golden, layouts, _BACK)


def _laid(tensor: TensorInfo, layouts: Mapping[str, str]) -> TensorInfo:
    layout = layouts.get(tensor.name)
    if layout is None or len(tensor.shape) != 4:
        return tensor
    return replace(tensor, shape=tuple(tensor.shape[axis] for axis in _ORDERS[layout]), layout=layout)


def _moved(golden: Golden, layouts: Mapping[str, str], orders: Mapping[str, Sequence[int]]) -> Golden:
    def moved(arrays: Arrays) -> dict[str, np.ndarray]:
        return {
            name: np.ascontiguousarray(array.transpose(orders[layouts[name]]))
            if name in layouts and array.ndim == 4
            else array
            for name, array in arrays.items()
        }

    samples = tuple(
        GoldenSample(
            moved(sample.feeds),
            moved(sample.fp32),
            None if sample.reference is None else moved(sample.reference),
        )
        for sample in golden.samples
    )
    return replace(golden, samples=samples)

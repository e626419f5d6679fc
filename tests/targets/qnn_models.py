"""A toy CNN as the target `qnn` takes it, and its contexts: what the qnn tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit._qdq import QdqForm, insert_qdq
from edgekit._values import Component
from edgekit.passes.prepare_component import prepare_component
from edgekit.profiles.loader import load_device
from edgekit.target import Job
from edgekit.targets.qnn import Qnn
from tests.qdq.qdq_nets import all_tensors, record_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import onnx

    from edgekit._schemes import Scheme
    from edgekit._values import Artifact, Precision, ShapeSpec

TARGET = Qnn()
FEEDS = {"x": np.random.default_rng(3).standard_normal((1, 3, 16, 16)).astype(np.float32)}


def job(precision: Precision = "int8", device: str = "snapdragon-8-gen-3", **options: str) -> Job:
    path = next(path for path in TARGET.devices() if path.stem == device)
    named = {name.replace("_", "-"): value for name, value in options.items()}
    return Job(load_device(path), precision, options=named)


def as_component(model: onnx.ModelProto, shapes: ShapeSpec | None = None) -> Component:
    return prepare_component(Component("model", ir.from_proto(model), "0" * 64), shapes=shapes or {})


def quantized(
    model: onnx.ModelProto,
    scheme: Scheme,
    feeds: Mapping[str, np.ndarray] = FEEDS,
    shapes: ShapeSpec | None = None,
) -> Component:
    """In the form that the target asks for, its ranges from the one sample."""
    component = as_component(model, shapes)
    plan = TARGET.plan([component], job())
    record = record_of(all_tensors(ir.to_proto(component.model), dict(feeds)))
    form = QdqForm(scheme, plan.bias, plan.conv_output, plan.gemm_output)
    return insert_qdq(component, record, form=form).component


def build(component: Component, out: Path, given: Job) -> Artifact:
    return TARGET.build([component], given, out)[0]

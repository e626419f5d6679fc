"""A session of ONNX Runtime that runs a graph as it stands and frees each tensor as soon as it can."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import onnxruntime.capi.onnxruntime_pybind11_state as runtime  # its errors have no public home

from edgekit.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RUN_FAILURES = (runtime.Fail, runtime.InvalidArgument, runtime.RuntimeException, ValueError)
LOAD_FAILURES = (*RUN_FAILURES, runtime.InvalidGraph, runtime.InvalidProtobuf, runtime.NotImplemented)

# Smaller tensors stay in the serialized graph: shapes and axes are read from there while loading.
_SMALLEST_WEIGHT = 4096
_NUMPY_TYPES = frozenset(
    {
        ir.DataType.FLOAT,
        ir.DataType.DOUBLE,
        ir.DataType.FLOAT16,
        ir.DataType.INT8,
        ir.DataType.UINT8,
        ir.DataType.INT32,
        ir.DataType.INT64,
    }
)


@dataclass(frozen=True)
class OpenSession:
    """A loaded graph with the weights it reads in place, which must live as long as it does."""

    session: Any
    weights: Mapping[str, Any]

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]:
        """The named outputs for one set of inputs; what ONNX Runtime raises is in RUN_FAILURES."""
        return list(self.session.run(list(outputs), dict(feeds)))


def open_session(model: ir.Model) -> OpenSession:
    """Load `model` with graph optimizations off, one thread a core that this process may use.

    Nodes run by priority, then in graph order: ONNX Runtime's default order runs the measuring nodes at
    the end and so keeps every activation alive (1.5 GB instead of 0.3 GB on PP-OCRv4 det). Weights are
    handed over beside the serialized graph, so that protobuf's 2 GB are no limit; the weights of `model`
    become references, so hand in a clone. A graph that does not load raises ModelError.
    """
    options = _options()
    weights = _detach_weights(model)
    options.add_external_initializers(list(weights), list(weights.values()))
    return OpenSession(_load(model, options), weights)


def open_mapped(model: ir.Model, folder: str) -> OpenSession:
    """As `open_session`, for a model whose external weights all lie in `folder`: their file is mapped.

    No weight is copied, nor packed for a kernel: what a large piece of a model needs is its bytes once.
    """
    options = _options()
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    options.add_session_config_entry("session.disable_prepacking", "1")
    return OpenSession(_load(model, options), {})


def _options() -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    options.intra_op_num_threads = _count_cores()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _load(model: ir.Model, options: Any) -> Any:
    try:
        content = ir.to_proto(model).SerializeToString()
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except LOAD_FAILURES as error:
        raise ModelError(
            f"ONNX Runtime cannot load the model to run it: {str(error).splitlines()[0]}",
            fix="look for the node with `edgekit check`; an op this ONNX Runtime lacks cannot be calibrated",
        ) from error


def _detach_weights(model: ir.Model) -> dict[str, Any]:
    """Take the large weights out of the graph, leaving references; their values by name.

    Small ones lie in the graph itself: one that is external has no file beside a serialized graph.
    """
    weights: dict[str, Any] = {}
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or tensor.nbytes < _SMALLEST_WEIGHT or tensor.dtype not in _NUMPY_TYPES:
            if isinstance(tensor, ir.ExternalTensor):
                value.const_value = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=name)
            continue
        weights[name] = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(tensor.numpy()))
        value.const_value = ir.ExternalTensor(
            "weights", 0, tensor.nbytes, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=name
        )
    return weights


def _count_cores() -> int:
    """Cores this process may use; the affinity mask counts where the system has one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

"""A session of ONNX Runtime that runs a graph as it stands and frees each tensor as soon as it can."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import onnxruntime.capi.onnxruntime_pybind11_state as runtime  # its errors have no public home

from edgekit.errors import ModelError
from edgekit.passes._rewire import lies_in_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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
    """A loaded graph with the weights it reads in place, which must live as long as it does.

    fed: weights that are inputs of the loaded graph, given to it with each run.
    """

    session: Any
    weights: Mapping[str, Any] = field(default_factory=dict)
    fed: Mapping[str, Any] = field(default_factory=dict)

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]:
        """The named outputs for one set of inputs; what ONNX Runtime raises is in RUN_FAILURES."""
        return list(self.session.run(list(outputs), {**self.fed, **feeds}))


def open_session(model: ir.Model) -> OpenSession:
    """Load `model` with graph optimizations off, one thread a core that this process may use.

    Nodes run by priority, then in graph order: ONNX Runtime's default order runs the measuring nodes at
    the end and so keeps every activation alive (1.5 GB instead of 0.3 GB on PP-OCRv4 det). Weights are
    handed over beside the serialized graph, so that protobuf's 2 GB are no limit; the weights of `model`
    become references, so hand in a clone. A graph that does not load raises ModelError.
    """
    options = _options()
    weights: dict[str, Any] = {}
    for value, array in _take_weights(model):
        weights[str(value.name)] = ort.OrtValue.ortvalue_from_numpy(array)
        kind = ir.DataType.from_numpy(array.dtype)
        value.const_value = ir.ExternalTensor(
            "weights", 0, array.nbytes, kind, shape=ir.Shape(array.shape), name=str(value.name)
        )
    options.add_external_initializers(list(weights), list(weights.values()))
    return OpenSession(_load(model, options), weights)


def open_once(model: ir.Model) -> OpenSession:
    """As `open_session`, to be run once or twice: each weight is in memory once, for no kernel is it packed.

    Weights whose files all lie in one folder are mapped there. Others become inputs of the graph: of an
    initializer that is handed over ONNX Runtime makes a copy.
    """
    options = _options()
    options.add_session_config_entry("session.disable_prepacking", "1")
    tensors = [value.const_value for value in model.graph.initializers.values()]
    folders = {str(tensor.base_dir) for tensor in tensors if lies_in_file(tensor)}
    folder = folders.pop() if len(folders) == 1 else None
    if folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    fed: dict[str, Any] = {}
    for value, array in _take_weights(model, mapped=folder):
        fed[str(value.name)] = array
        del model.graph.initializers[str(value.name)]
        value.const_value, value.shape = None, ir.Shape(array.shape)
        value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
        model.graph.inputs.append(value)
    return OpenSession(_load(model, options), fed=fed)


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


def _take_weights(model: ir.Model, mapped: str | None = None) -> Iterator[tuple[ir.Value, Any]]:
    """The large weights that are to leave the graph, with their numbers as they lie in a row.

    Small ones are put into the graph itself: one that is external has no file beside a serialized graph. What
    lies in a file of the folder `mapped` stays as it is.
    """
    for name, value in list(model.graph.initializers.items()):
        tensor = value.const_value
        if mapped is not None and lies_in_file(tensor):
            continue
        if tensor is not None and tensor.nbytes >= _SMALLEST_WEIGHT and tensor.dtype in _NUMPY_TYPES:
            yield value, np.ascontiguousarray(tensor.numpy())
        elif isinstance(tensor, ir.ExternalTensor):
            value.const_value = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=name)


def _count_cores() -> int:
    """Cores this process may use; the affinity mask counts where the system has one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

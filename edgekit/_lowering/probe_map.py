"""Ops that only pick or only weigh their one computed input: asked of ONNX Runtime, once, while building.

With every other input constant such a node is one fixed map from input elements to output elements. Its
picks (or its weights and offset) are read off by running the node itself, and the found map is run
against the node on other numbers before it is given out: what does not agree is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir

from edgekit._lowering.refused import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

# float32 tells whole numbers apart up to here.
_MOST_PICKED = 2**24
_MOST_WEIGHTS = 4 * 2**20
_MOST_RUNS = 4096
# Every ONNX Runtime since 1.10 reads it.
_IR_VERSION = 8
# ONNX Runtime 1.32 has no kernel of the op's newest version, which differs in its dtypes only.
_KERNELS_UP_TO = {"RoiAlign": 21}


@dataclass(frozen=True)
class MapProbe:
    """The node alone: its inputs' values, None at `computed` (a float32 of `shape`) or left out."""

    node: ir.Node
    constants: Sequence[NDArray[Any] | None]
    computed: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @cached_property
    def _random(self) -> Floats:
        return np.random.default_rng(0).standard_normal(self.shape).astype(np.float32)

    def picks(self) -> NDArray[np.int64]:
        """For each output element the input element it is, -1 for a zero. Raises Refused otherwise."""
        if self.size >= _MOST_PICKED:
            raise Refused(f"{self.size} elements are too many to find out what it picks")
        numbers = np.arange(1, self.size + 1, dtype=np.float32).reshape(self.shape)
        places: NDArray[np.int64] = self.run(numbers).astype(np.int64) - 1
        flat = np.append(self._random.reshape(-1), np.float32(0))
        if not np.array_equal(self.run(self._random), flat[places]):
            raise Refused("it does more than pick values, so edgekit cannot write it out")
        return places

    def weights(self) -> tuple[Floats, Floats]:
        """(weights [outputs, inputs], offset [outputs]) of an affine map. Raises Refused otherwise."""
        offset = self.run(np.zeros(self.shape, np.float32)).reshape(-1)
        if self.size > _MOST_RUNS or self.size * offset.size > _MOST_WEIGHTS:
            raise Refused(
                f"its map of {self.size} to {offset.size} values is beyond what edgekit writes out as weights"
            )
        matrix = np.empty((offset.size, self.size), np.float32)
        for index in range(self.size):
            one = np.zeros(self.size, np.float32)
            one[index] = 1
            matrix[:, index] = self.run(one.reshape(self.shape)).reshape(-1) - offset
        expected = self.run(self._random).reshape(-1)
        found = matrix @ self._random.reshape(-1) + offset
        if not np.allclose(found, expected, rtol=1e-4, atol=1e-4):
            raise Refused("it is no weighted sum of its input, so edgekit cannot write it out")
        return matrix, offset

    def run(self, values: Any) -> Any:
        """The node's first result on these values of its computed input."""
        return self._session.run(["out"], {f"in{self.computed}": values})[0]

    @cached_property
    def _session(self) -> Any:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return ort.InferenceSession(self._model(), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise Refused("ONNX Runtime has no kernel that says what it computes") from error

    def _model(self) -> bytes:
        """The computed operand is an input, the others are weights."""
        given = [index == self.computed or item is not None for index, item in enumerate(self.constants)]
        names = [f"in{index}" if here else "" for index, here in enumerate(given)]
        proto = ir.to_proto(self.node)
        del proto.input[:], proto.output[:]
        proto.input.extend(names)
        others = [f"other{i}" if value.name else "" for i, value in enumerate(self.node.outputs[1:])]
        proto.output.extend(["out", *others])
        weights = [
            onnx.numpy_helper.from_array(np.ascontiguousarray(item).reshape(item.shape), names[index])
            for index, item in enumerate(self.constants)
            if item is not None
        ]
        info = onnx.helper.make_tensor_value_info(names[self.computed], onnx.TensorProto.FLOAT, self.shape)
        graph = onnx.helper.make_graph([proto], "probed", [info], [onnx.ValueInfoProto(name="out")], weights)
        opset = 17 if self.node.graph is None else self.node.graph.opset_imports.get("", 17)
        opset = min(opset, _KERNELS_UP_TO.get(self.node.op_type, opset))
        imports = [onnx.helper.make_opsetid("", opset)]
        model = onnx.helper.make_model(graph, opset_imports=imports, ir_version=_IR_VERSION)
        return bytes(model.SerializeToString())

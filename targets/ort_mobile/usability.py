"""What onnxruntime's usability checker expects of the NNAPI and Core ML execution providers."""

from __future__ import annotations

import io
import logging
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.targets.ort_mobile.ort_tools import import_tools

if TYPE_CHECKING:
    from collections.abc import Callable

_MLPROGRAM = "coreml_supported_mlprogram_ops.md"
_NEURALNETWORK = "coreml_supported_neuralnetwork_ops.md"
_JUDGED_BY = "op types and shapes only; attributes, dtypes and the device's own limits are not looked at"


@dataclass(frozen=True)
class ProviderUse:
    """How one execution provider would take a model; `suitability` is YES, MAYBE or NO."""

    provider: str
    suitability: str
    nodes: int
    supported: int
    partitions: int
    partition_sizes: tuple[int, ...]
    unsupported_ops: tuple[str, ...]
    dynamic_shape_nodes: int
    text: str

    def as_json(self) -> dict[str, Any]:
        """The summary without the text."""
        return {
            "provider": self.provider,
            "suitability": self.suitability,
            "nodes": self.nodes,
            "supported_nodes": self.supported,
            "partitions": self.partitions,
            "partition_sizes": list(self.partition_sizes),
            "unsupported_ops": list(self.unsupported_ops),
            "nodes_with_dynamic_shapes": self.dynamic_shape_nodes,
            "judged_by": _JUDGED_BY,
        }


def check_usability(model: Path) -> list[ProviderUse]:
    """NNAPI, Core ML as NeuralNetwork and as ML Program, for one ONNX file after basic optimization."""
    checker, utils = import_tools("mobile_helpers.usability_checker"), import_tools("onnx_model_utils")
    rounds: list[tuple[str, Callable[..., Any]]] = [
        ("NNAPI", checker.check_nnapi_partitions),
        ("CoreML NeuralNetwork", partial(checker.check_coreml_partitions, config_filename=_NEURALNETWORK)),
        ("CoreML MLProgram", partial(checker.check_coreml_partitions, config_filename=_MLPROGRAM)),
    ]
    with tempfile.TemporaryDirectory() as scratch:
        optimized = Path(scratch) / "optimized.onnx"
        utils.optimize_model(model, optimized, use_external_initializers=True)
        # The holder removes its own scratch file when it goes, so it is kept until the end.
        holder = utils.ModelProtoWithShapeInfo(optimized)
        graph = holder.model_with_shape_info
        return [_judge(name, check, graph) for name, check in rounds]


def usability_text(uses: list[ProviderUse]) -> str:
    """The checker's own words, one section a provider."""
    head = f"What onnxruntime's usability checker says ({_JUDGED_BY}).\nNothing here was run on a device.\n"
    return head + "".join(f"\n== {use.provider}: {use.suitability}\n{use.text}" for use in uses)


def _judge(name: str, check: Callable[..., Any], graph: Any) -> ProviderUse:
    # A single node leaves no value infos, and the checker then asks for fixed sizes in vain.
    fixed = bool(graph.graph.value_info) or len(graph.graph.node) <= 1
    info = check(graph, require_fixed_input_sizes=fixed)
    return ProviderUse(
        provider=name,
        suitability=info.suitability().name if info.num_nodes else "NO",
        nodes=info.num_nodes,
        supported=info.num_supported_nodes,
        partitions=info.num_partitions,
        partition_sizes=tuple(len(group) for group in info.supported_groups),
        unsupported_ops=tuple(sorted(info.unsupported_ops)),
        dynamic_shape_nodes=info.nodes_unsupported_due_to_dynamic_input,
        text=_analysis(info, name),
    )


def _analysis(info: Any, name: str) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.Logger("edgekit.usability", logging.INFO)
    logger.addHandler(handler)
    info.print_analysis(logger, name)
    return stream.getvalue()

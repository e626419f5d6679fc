"""The RTX parser's verdict on an ONNX file: a current-generation parser, not JetPack's, and no engine."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgekit._values import Gap
from edgekit.errors import MissingToolError

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._values import Component

LABEL = "RTX parser, not JetPack's"


def parse_with_rtx(model: Path | bytes) -> list[str]:
    """Error lines of TensorRT-RTX's ONNX parser; none means it parses. Builds no engine, needs no GPU.

    Raises MissingToolError where tensorrt-rtx is not installed.
    """
    try:
        trt: Any = import_module("tensorrt_rtx")
    except ImportError as error:
        raise MissingToolError("tensorrt-rtx is not installed", fix="pip install tensorrt-rtx") from error
    # Logger, builder and network must outlive the parser, which holds no reference to them.
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse(model) if isinstance(model, bytes) else parser.parse_from_file(str(model))
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    lines = [f"{error.node_operator()} '{error.node_name()}': {error.desc()}" for error in errors]
    return lines if parsed or lines else ["the parser refused the model without a reason"]


def rtx_gaps(component: Component) -> list[Gap]:
    """Its errors as warnings: what it refuses, a JetPack's parser may take, and the other way round."""
    from edgekit.passes.serialize_model import serialize_model

    rule = f"refused by the {LABEL}"
    return [
        Gap(
            "tensorrt",
            component.name,
            "model",
            "Graph",
            f"{rule}: {line}",
            "see the node it names",
            "warning",
        )
        for line in parse_with_rtx(serialize_model(component.model))
    ]

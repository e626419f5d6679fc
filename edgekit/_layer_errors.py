"""What INT8 loses by layer: one layer's errors, and one target's layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import onnx_ir as ir

    from edgekit._results import OutputParity

    Arrays = Mapping[str, np.ndarray]

Blame = Literal["quantization", "lowering", ""]


@dataclass(frozen=True)
class LayerError:
    """One quantized tensor, in the graph's order, made by `node` of type `op`.

    own: the layer's error with exact inputs. accumulated: with the quantized inputs that it really gets.
    narrowed: its range is cut on purpose to where the activation behind it is not flat, so its own error
    says little. artifact: as accumulated, computed by the target's own file; None where the runtime gives
    no such tensor. Each is SQNR in dB and cosine against fp32, over all samples.
    """

    tensor: str
    node: str
    op: str
    own: OutputParity
    accumulated: OutputParity
    artifact: OutputParity | None
    narrowed: bool
    price: float
    group: tuple[str, ...]
    blame: Blame


@dataclass(frozen=True)
class DebugResult:
    """What a component's INT8 loses on a target, layer by layer; `note`: why the artifact has no figures.

    float_model and layers: what a cut-out is made of; samples: the feeds that were run.
    """

    device: str
    component: str
    scheme: str
    layers: tuple[LayerError, ...]
    outputs: tuple[OutputParity, ...]
    samples: int
    note: str
    float_model: ir.Model
    qdq_model: ir.Model
    feeds: tuple[Arrays, ...]

    def worst(self, most: int = 10) -> tuple[LayerError, ...]:
        """The layers whose own error does most to the outputs, the worst first; of equals the farther off."""
        known = [layer for layer in self.layers if not (layer.narrowed or math.isnan(layer.own.sqnr_db))]
        return tuple(sorted(known, key=lambda layer: (-layer.price, layer.own.sqnr_db))[:most])

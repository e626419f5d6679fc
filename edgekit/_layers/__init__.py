"""A quantized graph layer by layer: cut so that each runs on exact inputs, or one taken out alone."""

from edgekit._layers.cut_layers import LayerModel, cut_layers
from edgekit._layers.cut_out import collect_layer, cut_out

__all__ = ["LayerModel", "collect_layer", "cut_layers", "cut_out"]

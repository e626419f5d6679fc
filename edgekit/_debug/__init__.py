"""Where INT8 loses accuracy: each layer's own error, the accumulated one, and whose fault it is."""

from edgekit._debug.find_errors import debug_recipe
from edgekit._debug.keep import debug_json, save_debug
from edgekit._layer_errors import DebugResult, LayerError

__all__ = ["DebugResult", "LayerError", "debug_json", "debug_recipe", "save_debug"]

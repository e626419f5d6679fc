"""Mixed precision: which layers must stay in float so that INT8 loses no more than a user allows."""

from edgekit._search.search_float import FoundMix, search_float
from edgekit._search.sensitivity import LayerCost, measure_sensitivity

__all__ = ["FoundMix", "LayerCost", "measure_sensitivity", "search_float"]

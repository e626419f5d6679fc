"""Mixed precision: the cheapest INT8 that loses no more than a user allows."""

from edgekit._search.found_mix import MIX, FoundMix, Trial, read_mix
from edgekit._search.judge import Judge
from edgekit._search.search_mix import WideChoice, search_mix
from edgekit._search.sensitivity import LayerCost, measure_sensitivity

__all__ = [
    "MIX",
    "FoundMix",
    "Judge",
    "LayerCost",
    "Trial",
    "WideChoice",
    "measure_sensitivity",
    "read_mix",
    "search_mix",
]

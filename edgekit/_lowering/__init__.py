"""What every target's op rules share: their table, and one ONNX node as a rule sees it.

A target brings its own tensors and what it writes; operands, attributes and refusals are the same for all.
"""

from edgekit._lowering.node_call import NodeCall, Operand
from edgekit._lowering.probe_map import MapProbe
from edgekit._lowering.refused import Refused
from edgekit._lowering.rules import Registered, RuleTable, functions_beyond

__all__ = ["MapProbe", "NodeCall", "Operand", "Refused", "Registered", "RuleTable", "functions_beyond"]

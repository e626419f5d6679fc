"""Names of the model's own tensors in the file, so that layers can be compared and a viewer shows them.

A tensor whose axes lie in another order carries it behind its name: `conv1:0312` has the source's axis i at
the tensor's axis 0, 3, 1, 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.targets.litert.graph import Tensor
    from edgekit.targets.litert.lower import Lowered

_LONGEST = 200  # characters: a longer name stays out of the file


def name_tensors(lowered: Lowered) -> dict[str, str]:
    """Name the graph's tensors; source name -> the file's own, where the two differ."""
    border = {*lowered.graph.inputs, *lowered.graph.outputs}
    made: dict[Tensor, str] = {}
    tensors: dict[str, str] = {}
    operators = lowered.graph.operators
    alive = {tensor for operator in operators for tensor in operator.outputs}
    for name, tensor in lowered.tensors.items():
        if tensor in border or tensor not in alive or len(name) > _LONGEST:
            continue
        order = lowered.orders.get(name)
        own = made.setdefault(tensor, name if order is None else f"{name}:{''.join(map(str, order))}")
        tensor.name = own
        if own != name and read_order(own) == order:
            tensors[name] = own
    return tensors


def read_order(own: str) -> tuple[int, ...] | None:
    """The order behind a name; None where the axes lie as in the source."""
    digits = own.rpartition(":")[2] if ":" in own else ""
    if not (
        1 < len(digits) <= 9 and digits.isdecimal() and sorted(digits) == list("012345678"[: len(digits)])
    ):
        return None
    return tuple(int(digit) for digit in digits)

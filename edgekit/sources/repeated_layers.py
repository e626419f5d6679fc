"""The layers of one kind that a component has many of, and what belongs to which of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.sources.extend_layers import WINDOWS, OfLayer, Shared

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgekit.sources.torch_component import TorchComponent

Label = tuple[str, int | None]


@dataclass(frozen=True)
class RepeatedLayers:
    """A component's layers of one kind.

    count: how many. path: of their list in the module. special: how many at the start the component treats
    otherwise than the rest. inputs, outputs: names of the lists, among its arguments and its outputs, of
    which each layer has one tensor. shorten: the component with the first layers only, the same modules.
    """

    count: int
    path: str
    special: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shorten: Callable[[int], TorchComponent]

    @property
    def fewest(self) -> int:
        """How many layers a short form needs; the first one often computes what all others read."""
        return max(1, self.special) + WINDOWS

    def read_weight(self, name: str) -> Shared | OfLayer:
        """A weight by its name in the module: a layer's, or one of the whole."""
        number, dot, rest = name.removeprefix(f"{self.path}.").partition(".")
        if name.startswith(f"{self.path}.") and dot and number.isdecimal():
            return OfLayer(int(number), rest, weight=True)
        return Shared(name)

    def read_input(self, name: str) -> Shared | OfLayer:
        """An input by its name in the graph."""
        argument, layer = _split(name, self.inputs)
        return Shared(f"input {name}") if layer is None else OfLayer(layer, f"input {argument}", weight=False)

    def label_output(self, name: str) -> Label:
        """The list and the layer that an output is of; a name alone for one of the whole."""
        return _split(name, self.outputs)


def _split(name: str, lists: tuple[str, ...]) -> Label:
    base, _, number = name.rpartition("_")
    return (base, int(number)) if base in lists and number.isdecimal() else (name, None)

"""A PyTorch module as a component to export: the module, example inputs, and which of their dims are open."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgekit.errors import SourceError

if TYPE_CHECKING:
    import torch

    from edgekit.sources.repeated_layers import RepeatedLayers

    Inputs = Mapping[str, "torch.Tensor | Sequence[torch.Tensor]"]

_DIM_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}")
_FORMS = "return (module, inputs) or (module, inputs, dynamic), as docs/sources.md shows"


@dataclass(frozen=True)
class DynamicDim:
    """An open dim: its name (one name is one size everywhere) and its range; high None: no end."""

    name: str
    low: int = 1
    high: int | None = None


@dataclass(frozen=True)
class TorchComponent:
    """One part to export.

    inputs: `forward`'s arguments by name, a tensor each or a list of tensors (`past` becomes `past_0` ...).
    dynamic: argument -> axis -> the open dim, for all tensors of a list. outputs: names in order, lists
    spelled out; empty: `output`, or `output_0` ... for several.
    program: what torch.export made of the module, where that was done already.
    layers: the many of one kind, if it has such.
    """

    module: torch.nn.Module
    inputs: Inputs
    dynamic: Mapping[str, Mapping[int, DynamicDim]] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    program: torch.export.ExportedProgram | None = None
    layers: RepeatedLayers | None = None

    def flat_inputs(self) -> dict[str, torch.Tensor]:
        """The input tensors by the names that the graph gives them."""
        return flatten_inputs(self.inputs)

    def flat_dims(self) -> dict[str, Mapping[int, DynamicDim]]:
        """Open dims by the graph's input names."""
        return {
            name: self.dynamic.get(argument, {})
            for argument, value in self.inputs.items()
            for name in flatten_inputs({argument: value})
        }


@dataclass(frozen=True)
class TorchSource:
    """What a factory gives: components by name and, for several, the text of their scenario.toml.

    shape_only: parameters are those of weightless.py, so nothing can be run. seed: weights that are left out
    are drawn with it wherever they are read.
    """

    components: Mapping[str, TorchComponent]
    scenario: str = ""
    shape_only: bool = False
    seed: int | None = None


def flatten_inputs(inputs: Inputs) -> dict[str, torch.Tensor]:
    """Tensors by name; those of a list are numbered."""
    flat: dict[str, torch.Tensor] = {}
    for name, value in inputs.items():
        if isinstance(value, (list, tuple)):
            flat |= {f"{name}_{index}": one for index, one in enumerate(value)}
        else:
            flat[name] = value  # type: ignore[assignment]  # a lone tensor, as checked below
    return flat


def read_source(given: object, label: str) -> TorchSource:
    """What a factory returned as a source; SourceError, naming the rule, for anything else.

    Taken are a TorchSource, a TorchComponent, and tuples (module, inputs[, dynamic]): inputs a mapping by
    argument name, or a tuple in order; dynamic as {"x": {0: "batch", 2: ("width", 32, 640)}}.
    """
    if isinstance(given, TorchSource):
        if len(given.components) != 1 and not given.scenario:
            raise SourceError(f"{label} gives several components and no scenario", fix=_FORMS)
        return TorchSource(
            {name: _checked(one, f"{label}, component '{name}'") for name, one in given.components.items()},
            given.scenario,
        )
    if isinstance(given, TorchComponent):
        return TorchSource({"model": _checked(given, label)})
    if isinstance(given, tuple) and 2 <= len(given) <= 3:
        return TorchSource({"model": _checked(_from_tuple(given, label), label)})
    raise SourceError(f"{label} returned a {type(given).__name__}", fix=_FORMS)


def _from_tuple(given: tuple[Any, ...], label: str) -> TorchComponent:
    module, inputs = given[:2]
    if not isinstance(inputs, Mapping):
        values = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
        names = list(inspect.signature(getattr(module, "forward", module)).parameters)
        if len(values) > len(names):
            raise SourceError(
                f"{label} gives {len(values)} inputs, and forward takes {len(names)}", fix=_FORMS
            )
        inputs = dict(zip(names, values, strict=False))
    dynamic = given[2] if len(given) == 3 else {}
    if not isinstance(dynamic, Mapping):
        raise SourceError(f"{label}: dynamic dims are a {type(dynamic).__name__}", fix=_FORMS)
    return TorchComponent(
        module, inputs, {name: _read_dims(name, dims, label) for name, dims in dynamic.items()}
    )


def _read_dims(name: str, dims: object, label: str) -> dict[int, DynamicDim]:
    if not isinstance(dims, Mapping):
        raise SourceError(f"{label}: dynamic dims of '{name}' are no mapping from axis to name", fix=_FORMS)
    found = {}
    for axis, dim in dims.items():
        words = (dim,) if isinstance(dim, str) else dim
        if not isinstance(words, tuple) or not 1 <= len(words) <= 3 or not isinstance(axis, int):
            raise SourceError(f"{label}: '{name}' axis {axis!r} is {dim!r}", fix=_FORMS)
        values: tuple[Any, ...] = words
        found[axis] = DynamicDim(*values)
    return found


def _checked(part: TorchComponent, label: str) -> TorchComponent:
    """The part itself, if it can be exported as far as anybody can see before trying."""
    import torch

    if not isinstance(part.module, torch.nn.Module):
        raise SourceError(f"{label} gives a {type(part.module).__name__}, no torch.nn.Module", fix=_FORMS)
    if isinstance(part.module, torch.jit.ScriptModule):
        raise SourceError(f"{label} gives TorchScript", fix="give the nn.Module that it was scripted from")
    flat = part.flat_inputs()
    if not flat:
        raise SourceError(f"{label} gives no example inputs", fix=_FORMS)
    for name, value in flat.items():
        if not isinstance(value, torch.Tensor):
            raise SourceError(
                f"{label}: example input '{name}' is a {type(value).__name__}, no tensor",
                fix="give tensors; close numbers and flags into the module",
            )
    for name in part.dynamic:
        if name not in part.inputs:
            raise SourceError(f"{label}: dynamic dims of '{name}', which is no input", fix=_FORMS)
    sizes: dict[str, int] = {}
    for name, dims in part.flat_dims().items():
        for axis, dim in dims.items():
            _check_dim(dim, axis, flat[name], sizes, f"{label}: input '{name}' axis {axis}")
    return part


def _check_dim(dim: DynamicDim, axis: int, example: torch.Tensor, sizes: dict[str, int], where: str) -> None:
    if not _DIM_NAME.fullmatch(str(dim.name)):
        raise SourceError(f"{where}: {dim.name!r} is no name for a dim", fix="use letters, digits and _")
    if not 0 <= axis < example.ndim:
        raise SourceError(f"{where}: the example has {example.ndim} axes", fix=_FORMS)
    size = example.shape[axis]
    if size < 2 or not dim.low <= size <= (dim.high or size):
        raise SourceError(
            f"{where} ('{dim.name}', {dim.low}..{dim.high or ''}) has {size} in the example",
            fix="give an example of 2 or more within the range: torch takes a size of 1 for a fixed one",
        )
    if sizes.setdefault(dim.name, size) != size:
        raise SourceError(
            f"{where}: dim '{dim.name}' has {size} here and {sizes[dim.name]} in another input",
            fix="one name is one size: give the dims different names, or the examples one size",
        )

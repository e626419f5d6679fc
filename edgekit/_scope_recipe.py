"""A recipe for each component of a source: its own shapes, samples and nodes out of the whole one's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import SamplesError, UsageError
from edgekit.sources.graph_io import inputs_of
from edgekit.sources.scope_words import scope_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgekit._recipe import Recipe
    from edgekit._values import Component, DimRange, ShapeSpec

_ARRAYS = (".npz", ".npy")


def scope_recipe(recipe: Recipe, components: Sequence[Component]) -> dict[str, Recipe]:
    """Component -> the recipe to work it by; a source of one component keeps the whole one.

    shapes: COMPONENT.INPUT, or INPUT where one component has it; a single size or range by the name of a
    dim (`past=0..2047`) is given to every input dim called so. samples: the subfolder with the component's
    name. float_nodes, sketch: COMPONENT.NODE. UsageError for words that fit no component, and for a task
    metric, which judges one component's outputs; SamplesError for a subfolder that is missing.
    """
    shapes = scope_shapes(recipe.shapes, components)
    if len(components) == 1:
        return {components[0].name: replace(recipe, shapes=shapes[components[0].name])}
    if recipe.metric is not None:
        raise UsageError(
            f"--metric {recipe.metric} judges one model, not the {len(components)} of '{recipe.model}'",
            fix="convert that component's .onnx by itself with the metric, or leave it out",
        )
    floats = _scope_nodes(recipe.float_nodes, components, option="--float")
    sketched = _scope_nodes(recipe.sketch, components, option="--sketch")
    binds = scope_words(recipe.bind, _input_names(components), option="--bind")
    made = {}
    for component in components:
        name = component.name
        own = replace(recipe, shapes=shapes[name], float_nodes=floats[name], bind=binds[name])
        made[name] = _with_samples(replace(own, sketch=sketched[name]), name)
    return made


def scope_shapes(shapes: ShapeSpec, components: Sequence[Component]) -> dict[str, ShapeSpec]:
    """Component -> the shapes of its inputs, with words about named dims spelled out input by input."""
    by_dim = {name: dims[0] for name, dims in shapes.items() if _names_dim(name, dims, components)}
    rest = {name: dims for name, dims in shapes.items() if name not in by_dim}
    scoped = scope_words(rest, _input_names(components), option="--shape")
    return {
        component.name: _spell_out(component, by_dim) | scoped[component.name] for component in components
    }


def _input_names(components: Sequence[Component]) -> dict[str, list[str]]:
    return {one.name: [info.name for info in inputs_of(one.model)] for one in components}


def _names_dim(name: str, dims: Sequence[DimRange], components: Sequence[Component]) -> bool:
    """Whether a word is about a named dim: a single size, no input called so, and some dim is."""
    infos = [info for component in components for info in inputs_of(component.model)]
    return (
        len(dims) == 1
        and all(info.name != name for info in infos)
        and any(name in info.shape for info in infos)
    )


def _spell_out(component: Component, by_dim: Mapping[str, DimRange]) -> dict[str, tuple[DimRange, ...]]:
    """The inputs all of whose open dims have a size by name."""
    from edgekit._values import DimRange

    found = {}
    for info in inputs_of(component.model):
        dims = [DimRange(dim, dim) if isinstance(dim, int) else by_dim.get(dim or "") for dim in info.shape]
        known = [dim for dim in dims if dim is not None]
        if len(known) == len(dims) and any(dim in by_dim for dim in info.shape):
            found[info.name] = tuple(known)
    return found


def _scope_nodes(
    nodes: Sequence[str], components: Sequence[Component], *, option: str
) -> dict[str, tuple[str, ...]]:
    scoped: dict[str, tuple[str, ...]] = {component.name: () for component in components}
    for text in nodes:
        component, dot, node = text.partition(".")
        if not (dot and node and component in scoped):
            raise UsageError(
                f"{option} '{text}' names no component", fix=f"write {option} {components[0].name}.NODE"
            )
        scoped[component] = (*scoped[component], node)
    return scoped


def _with_samples(recipe: Recipe, component: str) -> Recipe:
    """The recipe with the samples in the component's own subfolder."""
    if recipe.samples is None or recipe.samples == "random":
        return recipe
    if callable(recipe.samples) or not Path(recipe.samples).is_dir():
        raise UsageError(
            "samples of several components come from a folder",
            fix=f"give a folder with a subfolder a component ({component}/0.npz ...), or random",
        )
    folder = Path(recipe.samples) / component
    if not folder.is_dir():
        raise SamplesError(
            f"sample folder '{recipe.samples}' has no subfolder '{component}' for that component",
            fix=f"put its inputs there as .npz files: {component}/0.npz ...",
        )
    arrays = any(path.suffix in _ARRAYS for path in folder.iterdir())
    return replace(recipe, samples=str(folder), preprocess=None if arrays else recipe.preprocess)

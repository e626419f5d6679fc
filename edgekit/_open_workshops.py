"""A workshop for each component of a source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._scope_recipe import scope_recipe
from edgekit._workshop import Workshop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._cache import Cache
    from edgekit._recipe import Recipe
    from edgekit._values import Component, Progress
    from edgekit.registry import ResolvedTarget


def open_workshops(
    components: Sequence[Component],
    targets: Sequence[ResolvedTarget],
    *,
    recipe: Recipe,
    cache: Cache,
    progress: Progress,
) -> tuple[Workshop, ...]:
    """A workshop for each component of a source, with the recipe's words about it.

    SourceError for a component whose weights were left out.
    """
    from edgekit.sources.shape_only import refuse_shape_only

    components = [refuse_shape_only(component) for component in components]
    own = scope_recipe(recipe, components)
    return tuple(Workshop(own[one.name], one, targets, cache, progress) for one in components)

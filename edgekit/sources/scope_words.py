"""Words about inputs (`--shape`, `--bind`) handed to the components that they mean."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeVar

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


Word = TypeVar("Word")


def scope_words(
    words: Mapping[str, Word], known: Mapping[str, Sequence[str]], *, option: str
) -> dict[str, dict[str, Word]]:
    """Component -> its own words, from words by COMPONENT.NAME, or by NAME where one component has it.

    known: component -> the names it has. With a single component words pass as they are, whatever they
    name: its own checks speak of them. UsageError for a name that none or several have.
    """
    if len(known) == 1:
        return {component: dict(words) for component in known}
    scoped: dict[str, dict[str, Word]] = {component: {} for component in known}
    for name, word in words.items():
        component, own = _find(name, known, option)
        if own in scoped[component]:
            raise UsageError(f"{option} {component}.{own} is given twice", fix="keep one of them")
        scoped[component][own] = word
    return scoped


def _find(name: str, known: Mapping[str, Sequence[str]], option: str) -> tuple[str, str]:
    component, dot, own = name.partition(".")
    if dot and own in known.get(component, ()):
        return component, own
    having = [one for one, names in known.items() if name in names]
    if len(having) == 1:
        return having[0], name
    if having:
        raise UsageError(
            f"{option} {name}: the components {', '.join(having)} all have it",
            fix=f"say which one: {option} {having[0]}.{name}=...",
        )
    names = [f"{one}.{each}" for one, all_names in known.items() for each in all_names]
    near = get_close_matches(name, names, n=1, cutoff=0.0)
    raise UsageError(
        f"{option} {name}: no component has it", fix=f"did you mean '{near[0]}'?" if near else "leave it out"
    )

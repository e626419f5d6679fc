"""A source as the components it is made of: one for an ONNX file, several for a folder with a scenario."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._scenario import load_scenario
from edgekit.errors import UsageError
from edgekit.sources.bound_file import load_bound
from edgekit.sources.export_source import SCENARIO, needs_export, open_export
from edgekit.sources.graph_io import inputs_of
from edgekit.sources.onnx_file import load_onnx
from edgekit.sources.scope_words import scope_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit._scenario import Scenario
    from edgekit._values import Component

# A component names a folder and files of a bundle.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def load_components(
    model: str | Path, bind: Mapping[str, str], cache: str | None = None, *, trusted: bool = False
) -> tuple[Component, ...]:
    """The components of a model, in the scenario's order, with the inputs named in `bind` held constant.

    A PyTorch or Hugging Face source is exported first, into the cache; trusted: pickles of it may be loaded.
    `bind` names an input that several components have as COMPONENT.INPUT. Raises SourceError and ModelError
    for what is damaged or hostile, UsageError for a scenario or a word that makes no sense.
    """
    path = Path(model)
    path = open_export(path, cache, trusted=trusted) if needs_export(path) else path
    if not path.is_dir():
        return (load_bound(path, bind),)
    scenario = open_scenario(path)
    loaded = {name: load_onnx(part.file, name=name) for name, part in scenario.parts.items()}
    inputs = {name: [info.name for info in inputs_of(one.model)] for name, one in loaded.items()}
    scoped = scope_words(bind, inputs, option="--bind")
    return tuple(
        load_bound(scenario.parts[name].file, scoped[name], name=name) if scoped[name] else one
        for name, one in loaded.items()
    )


def open_scenario(folder: Path) -> Scenario:
    """The scenario of a folder with one ONNX a component; UsageError where there is none that makes sense."""
    path = folder / SCENARIO
    if not path.is_file():
        raise UsageError(
            f"'{folder}' is a folder without a {SCENARIO}",
            fix="give an .onnx file, or a folder with one ONNX a component (docs/sources.md)",
        )
    scenario = load_scenario(path)
    for name in scenario.parts:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"scenario '{path}': component name {name[:80]!r} cannot name a folder",
                fix="use lower-case letters, digits, _ and -, 64 at most",
            )
    _refuse_cycles(scenario)
    return scenario


def _refuse_cycles(scenario: Scenario) -> None:
    """A step feeds components that run later, and itself only where it runs more than once."""
    for place, step in enumerate(scenario.steps):
        later = {other.component for other in scenario.steps[place + 1 :]}
        for fed in step.feeds:
            if fed not in later and not (fed == step.component and step.repeat > 1):
                raise UsageError(
                    f"scenario '{scenario.path.name}': step {place + 1} ({step.component}) feeds '{fed}', "
                    "which has run by then: a cycle",
                    fix="order the steps so that each feeds later ones",
                )

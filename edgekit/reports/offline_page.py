"""HTML pages that work offline: a template of the folder page/ with its style; no script, font or request."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import edgekit
from edgekit.errors import MissingToolError
from edgekit.reports.terminal import clean


@dataclass(frozen=True)
class Page:
    """One template, to be filled once."""

    _template: Any
    _style: str

    def render(self, **values: object) -> str:
        """The whole page. Texts are escaped and cleaned, but what `drawn` gave."""
        return str(
            self._template.render(style=self.drawn(self._style), version=edgekit.__version__, **values)
        )

    def drawn(self, svg: str) -> str:
        """A plot of ours, which goes into the page as it is."""
        from markupsafe import Markup

        return Markup(svg)


def open_page(name: str) -> Page:
    """The template of that name; MissingToolError where jinja2 or matplotlib is not installed."""
    try:
        import matplotlib as mpl
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise MissingToolError(
            f"the HTML page needs {error.name}", fix='pip install "edgekit[report]"'
        ) from error
    del mpl
    folder = files("edgekit.reports").joinpath("page")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_finalize
    )
    template = environment.from_string(folder.joinpath(name).read_text(encoding="utf-8"))
    return Page(template, folder.joinpath("style.css").read_text(encoding="utf-8"))


def _finalize(value: object) -> object:
    """Text from models and devices without control characters; escaping is the environment's."""
    return clean(value) if type(value) is str else value

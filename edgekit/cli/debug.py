"""edgekit debug: which layer loses the accuracy, and whose fault it is."""

from __future__ import annotations

from typing import Any

import click

from edgekit.cli.options import (
    bind_option,
    cache_option,
    observer_option,
    output_form,
    recipe_options,
    samples_options,
    shape_option,
    steering_options,
    target_option,
)


@click.command(short_help="Find the layers where INT8 loses accuracy.")
@click.argument("model")
@target_option
@samples_options
@shape_option
@bind_option
@observer_option
@steering_options
@click.option("--worst", type=click.IntRange(1), default=10, metavar="N", help="Layers to show (default 10).")
@click.option("-o", "--output", metavar="DIR", help="Write debug.json and the worst layer as a model.")
@cache_option
@output_form
def debug(model: str, *, worst: int, as_json: bool, verbose: bool, **typed: Any) -> None:  # noqa: ARG001
    """Compare the layers of MODEL in INT8 with fp32: alone, with their real inputs, in the target's file."""
    from edgekit import api
    from edgekit.cli.progress import show_progress
    from edgekit.reports.debug_report import render_debug
    from edgekit.reports.json_form import document

    with show_progress("silent" if as_json else "auto") as progress:
        results = api.debug(model, progress=progress, **recipe_options(typed))
    if as_json:
        from edgekit._debug import debug_json

        click.echo(document("debug", targets=[debug_json(result) for result in results]))
    else:
        click.echo(render_debug(results, worst, typed["output"]))

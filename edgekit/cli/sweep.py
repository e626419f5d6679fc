"""edgekit sweep: many models times many targets, here or on a Dask cluster."""

from __future__ import annotations

from typing import Any

import click

from edgekit.cli.options import cache_option, output_form


@click.command(short_help="Convert many models for many targets, here or on a Dask cluster.")
@click.argument("recipe")
@click.option("--dask", metavar="ADDRESS", help="Run on this Dask cluster, as tcp://host:8786.")
@click.option("--workers", type=int, metavar="N", help="Local processes at a time (default: one a core).")
@click.option("-o", "--output", metavar="DIR", help="Where the bundles go (default: the recipe's).")
@click.option("--overwrite", is_flag=True, help="Replace bundles that exist.")
@click.option("--trust", is_flag=True, help="Run the module:function that the recipe names.")
@cache_option
@output_form
def sweep(recipe: str, *, as_json: bool, verbose: bool, no_cache: bool, **typed: Any) -> int:  # noqa: ARG001
    """Convert every model of RECIPE for every target; exit 1 where one of them did not pass.

    \b
    targets = ["jetson-orin", "ort-mobile"]
    [[models]]
    model = "a.onnx"
    samples = "a"

    RECIPE is a recipe with a list of models; each may have options of its own.
    """
    from edgekit import api
    from edgekit.cli.progress import show_progress
    from edgekit.reports.json_form import document
    from edgekit.reports.sweep_report import render_sweep

    words: Any = {name: value for name, value in typed.items() if value not in (None, False)}
    if no_cache:
        words["cache"] = "off"
    with show_progress("silent" if as_json else "auto") as progress:
        result = api.sweep(recipe, progress=progress, **words)
    if as_json:
        click.echo(document("sweep", passed=result.passed, ran_on=result.ran_on, rows=result.rows))
    else:
        click.echo(render_sweep(result))
    return 0 if result.passed else 1

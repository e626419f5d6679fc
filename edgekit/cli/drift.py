"""edgekit drift: what a fleet sees and gives, against what its model was made with."""

from __future__ import annotations

from typing import Any

import click

from edgekit.cli.options import output_form


@click.command(short_help="Hold what devices saw against what a bundle was made with.")
@click.argument("bundle")
@click.argument("fields", nargs=-1, required=True, metavar="FIELD...")
@click.option(
    "--baseline",
    metavar="DATA",
    help="Samples, as --samples of convert; default: the bundle's own sketches of them.",
)
@click.option("--preprocess", metavar="SPEC", help="For a baseline of images, as in convert.")
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Only the first N samples of the baseline."
)
@click.option("--thresholds", metavar="FILE", help="TOML whose limits take the place of edgekit's.")
@click.option("-o", "--output", metavar="DIR", help="Folder for a page with plots, and the JSON.")
@click.option("--evidently", is_flag=True, default=None, help="Beside it a report of Evidently's own.")
@output_form
def drift(bundle: str, fields: tuple[str, ...], *, as_json: bool, verbose: bool, **typed: Any) -> int:  # noqa: ARG001
    """Merge FIELD files (or folders of them) that monitors wrote; exit 1 where a tensor of BUNDLE drifted."""
    from edgekit import _bundle_api
    from edgekit.cli.progress import show_progress
    from edgekit.reports.drift_report import render_drift
    from edgekit.reports.terminal import clean
    from edgekit.reports.write_drift import PAGE, drift_json

    words: Any = {name: value for name, value in typed.items() if value is not None}
    with show_progress("silent" if as_json else "auto") as progress:
        result = _bundle_api.drift(bundle, list(fields), progress=progress, **words)
    if as_json:
        click.echo(drift_json(result))
    else:
        click.echo(render_drift(result))
        if "output" in words:
            click.echo(f"page: {clean(words['output'])}/{PAGE}")
    return 0 if result.passed else 1

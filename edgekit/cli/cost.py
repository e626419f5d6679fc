"""edgekit cost: a year of a fleet, on devices and on endpoints."""

from __future__ import annotations

import click

from edgekit.cli.options import output_form


@click.command(short_help="What a year of a fleet costs, on devices and on endpoints.")
@click.argument("report")
@click.option("--prices", required=True, metavar="FILE", help="Your own prices, as prices.toml.")
@output_form
def cost(report: str, *, prices: str, as_json: bool, verbose: bool) -> None:  # noqa: ARG001
    """Count a year by REPORT (a report.json) and your prices; a figure that nobody has stays unknown."""
    from edgekit import _bundle_api
    from edgekit.reports.cost_report import render_cost
    from edgekit.reports.json_form import document

    made = _bundle_api.cost(report, prices)
    click.echo(document("cost", cost=made) if as_json else render_cost(made))

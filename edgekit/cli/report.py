"""edgekit report: one page over bundles and what was measured of them."""

from __future__ import annotations

from typing import Any

import click

from edgekit.cli.options import output_form


@click.command(short_help="Write the feasibility report of bundles: HTML, JSON, Markdown, JUnit.")
@click.argument("bundles", nargs=-1, required=True, metavar="BUNDLE...")
@click.option("-o", "--output", required=True, metavar="DIR", help="Folder the report goes to.")
@click.option("--budget", metavar="LIMITS", help="As latency=50ms,power=15W,memory=2GB,accuracy_loss=1%.")
@click.option("--recipe", metavar="FILE", help="A recipe file whose [budget] counts too.")
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    metavar="FILE",
    help="A profile that lies elsewhere. Repeat for more.",
)
@click.option(
    "--measured-field",
    multiple=True,
    metavar="FILE",
    help="A measured.json of `edgekit drift -o`. Repeat for more.",
)
@click.option(
    "--scenario",
    metavar="FILE",
    help="The scenario.toml (or its folder) of bundles of several components: the request that is predicted.",
)
@click.option("--baseline", metavar="FILE", help="An earlier report.json to compare with.")
@click.option(
    "--fail-if", multiple=True, metavar="RULE", help='As "p90_latency > +10%", against the baseline.'
)
@click.option("--title", help="Heading of the page.")
@output_form
def report(bundles: tuple[str, ...], *, output: str, as_json: bool, verbose: bool, **typed: Any) -> int:  # noqa: ARG001
    """Judge BUNDLEs and the profiles beside them by a budget; exit 1 where a measured figure breaks it."""
    from edgekit import _bundle_api
    from edgekit.reports.feasibility_report import render_report, report_json
    from edgekit.reports.terminal import clean

    words: Any = {name: value for name, value in typed.items() if value not in (None, ())}
    made = _bundle_api.report(list(bundles), output, **words)
    if as_json:
        click.echo(report_json(made), nl=False)
    else:
        click.echo(f"{render_report(made)}\nreport: {clean(output)}/report.html")
    return 0 if made.passed else 1

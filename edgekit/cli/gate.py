"""edgekit gate: a bundle beside a policy, for CI and registries."""

from __future__ import annotations

import click

from edgekit.cli.options import output_form


@click.command(short_help="Pass or refuse bundles by a policy file, for CI and registries.")
@click.argument("bundles", nargs=-1, required=True, metavar="BUNDLE...")
@click.option("--policy", required=True, metavar="FILE", help="What is demanded, as policy.toml.")
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    metavar="FILE",
    help="A profile that lies elsewhere. Repeat for more.",
)
@click.option("--junit", metavar="FILE", help="Write the checks as JUnit XML.")
@click.option("--summary", metavar="FILE", help="Append them as Markdown, as to $GITHUB_STEP_SUMMARY.")
@output_form
def gate(  # noqa: PLR0913 - one parameter an option
    bundles: tuple[str, ...],
    *,
    policy: str,
    profiles: tuple[str, ...],
    junit: str | None,
    summary: str | None,
    as_json: bool,
    verbose: bool,  # noqa: ARG001
) -> int:
    """Judge BUNDLEs and their profiles by a policy; exit 1 where a demand is not known to be kept."""
    from pathlib import Path

    from edgekit import _bundle_api
    from edgekit.reports.gate_report import render_gate, write_gate
    from edgekit.reports.json_form import document

    result = _bundle_api.gate(list(bundles), policy, profiles)
    write_gate(result, Path(junit) if junit else None, Path(summary) if summary else None)
    click.echo(document("gate", passed=result.passed, gate=result) if as_json else render_gate(result))
    return 0 if result.passed else 1

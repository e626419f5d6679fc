"""edgekit package: a bundle in the form that a serving platform takes."""

from __future__ import annotations

from typing import Any

import click

from edgekit.cli.options import output_form


@click.command(short_help="Write a bundle as a serving platform takes it (Triton ...).")
@click.argument("bundle")
@click.option("--as", "form", required=True, metavar="FORM", help="triton.")
@click.option("-o", "--output", required=True, metavar="DIR", help="New folder the package goes to.")
@click.option("--name", metavar="NAME", help="Name of the model there; default: the component's.")
@click.option(
    "--variant",
    "variants",
    multiple=True,
    metavar="V",
    help="int8, fp16 ...; default: all that passed. Repeat for more.",
)
@output_form
def package(bundle: str, *, form: str, output: str, as_json: bool, verbose: bool, **typed: Any) -> None:  # noqa: ARG001
    """Write BUNDLE as FORM into DIR; nothing is converted again, and the bundle stays as it is."""
    from edgekit import api
    from edgekit.reports.json_form import document
    from edgekit.reports.terminal import clean

    words: Any = {name: value for name, value in typed.items() if value}
    made = api.package(bundle, form, output, **words)
    if as_json:
        click.echo(document("package", package=made))
        return
    click.echo(clean(f"{form}: {len(made.files)} files of bundle {made.bundle[:12]} in {output}"))
    for note in made.notes:
        click.echo(clean(f"  {note}"))

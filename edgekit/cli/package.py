"""edgekit package, push and pull: a bundle in the form that a platform takes, and in registries."""

from __future__ import annotations

from typing import Any

import click

from edgekit.cli.options import output_form


@click.command(short_help="Write a bundle as a serving platform takes it.")
@click.argument("bundle")
@click.option(
    "--as",
    "form",
    required=True,
    metavar="FORM",
    help="triton, ortpackage, mlflow, azureml, sagemaker or oci.",
)
@click.option("-o", "--output", required=True, metavar="DIR", help="New folder the package goes to.")
@click.option("--name", metavar="NAME", help="Name of the model there; default: the component's.")
@click.option(
    "--variant",
    "variants",
    multiple=True,
    metavar="V",
    help="int8, fp16 ...; default: all that passed, or the best for a form of one model. Repeat for more.",
)
@click.option("--component", metavar="NAME", help="Only this component of the bundle.")
@click.option("--instance-type", metavar="SIZE", help="azureml, sagemaker: the machine to deploy on.")
@click.option(
    "--container", metavar="KIND", help="sagemaker: single (one model, the default), multi or triton."
)
@click.option("--image", metavar="URI", help="sagemaker: the container's image in your registry.")
@click.option("--role", metavar="ARN", help="sagemaker: the role that the container runs as.")
@click.option("--model-data", metavar="S3", help="sagemaker: folder in a bucket for the archives.")
@output_form
def package(bundle: str, *, form: str, output: str, as_json: bool, verbose: bool, **typed: Any) -> None:  # noqa: ARG001
    """Write BUNDLE as FORM into DIR; nothing is converted again, and the bundle stays as it is."""
    from edgekit import _bundle_api
    from edgekit.reports.json_form import document
    from edgekit.reports.terminal import clean

    words: Any = {name: value for name, value in typed.items() if value}
    made = _bundle_api.package(bundle, form, output, **words)
    if as_json:
        click.echo(document("package", package=made))
        return
    click.echo(clean(f"{form}: {len(made.files)} files of bundle {made.bundle[:12]} in {output}"))
    for note in made.notes:
        click.echo(clean(f"  {note}"))


@click.command(short_help="Put a bundle into a registry.")
@click.argument("bundle")
@click.argument("destination")
@output_form
def push(bundle: str, *, destination: str, as_json: bool, verbose: bool) -> None:  # noqa: ARG001
    """Put BUNDLE to DESTINATION; what is there already is not sent again.

    oci://HOST[:PORT]/REPOSITORY[:TAG] is a registry of containers, mlflow+http://HOST[:PORT]/MODEL-NAME a
    tracking server of MLflow, where a run with the figures and a version of the model appear.
    """
    from edgekit import _bundle_api
    from edgekit.cli.progress import show_progress
    from edgekit.reports.json_form import document
    from edgekit.reports.terminal import clean

    with show_progress("silent" if as_json else "auto") as progress:
        done = _bundle_api.push(bundle, destination, progress)
    if as_json:
        click.echo(document("push", push=done))
        return
    click.echo(
        clean(f"{done.place}: {done.sent} files sent ({done.sent_bytes} bytes), {done.kept} lay there")
    )
    click.echo(clean(f"  digest {done.digest}"))
    for warning in done.warnings:
        click.echo(clean(f"warning: {warning}"), err=True)


@click.command(short_help="Get a pushed bundle back.")
@click.argument("source")
@click.option("-o", "--output", required=True, metavar="DIR", help="New folder the bundle goes to.")
@output_form
def pull(source: str, *, output: str, as_json: bool, verbose: bool) -> None:  # noqa: ARG001
    """Get a bundle from SOURCE, as oci://HOST[:PORT]/REPOSITORY[:TAG|@DIGEST]; every byte is checked."""
    from edgekit import _bundle_api
    from edgekit.cli.progress import show_progress
    from edgekit.reports.json_form import document
    from edgekit.reports.terminal import clean

    with show_progress("silent" if as_json else "auto") as progress:
        done = _bundle_api.pull(source, output, progress)
    if as_json:
        click.echo(document("pull", pull=done))
        return
    click.echo(clean(f"{done.folder}: bundle {done.bundle[:12]}, as sealed; digest {done.digest}"))

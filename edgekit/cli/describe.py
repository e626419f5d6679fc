"""edgekit describe: what a bundle is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command(short_help="Tell what a bundle is made of: CycloneDX ML-BOM or in-toto provenance.")
@click.argument("bundle")
@click.option("--as", "form", required=True, type=click.Choice(["cyclonedx", "in-toto"]))
@click.option("-o", "--output", metavar="FILE", help="Where it goes (default: printed).")
@click.option("-v", "--verbose", is_flag=True, help="Show the traceback of a failure.")
def describe(bundle: str, *, form: Any, output: str | None, verbose: bool) -> None:  # noqa: ARG001
    """Write the bill of materials or the provenance of BUNDLE as JSON, the same bytes each time."""
    from edgekit import _bundle_api
    from edgekit.errors import OutputError

    text = _bundle_api.describe(bundle, form)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"'{output}' cannot be written ({error.strerror})", fix="name another file"
        ) from error

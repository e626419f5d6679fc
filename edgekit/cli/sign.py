"""edgekit sign: a signature beside a bundle."""

from __future__ import annotations

import click

from edgekit.cli.options import output_form


@click.command(short_help="Sign a bundle with a key or certificate, offline.")
@click.argument("bundle")
@click.option("--key", required=True, metavar="FILE", help="PEM private key on P-256, P-384 or P-521.")
@click.option("--certificate", metavar="FILE", help="The key's PEM certificate.")
@click.option("--chain", multiple=True, metavar="FILE", help="A certificate above it. Repeat for more.")
@click.option("-o", "--output", metavar="FILE", help="The signature; default: BUNDLE.sig.")
@output_form
def sign(  # noqa: PLR0913 - one parameter an option
    bundle: str,
    *,
    key: str,
    certificate: str | None,
    chain: tuple[str, ...],
    output: str | None,
    as_json: bool,
    verbose: bool,  # noqa: ARG001
) -> None:
    """Sign every file of BUNDLE; the bundle stays as it is. `edgekit verify --key` checks it."""
    from edgekit import api
    from edgekit.reports.json_form import document
    from edgekit.reports.terminal import clean

    place = api.sign(bundle, key, certificate=certificate, chain=chain, output=output)
    click.echo(document("sign", signature=place) if as_json else clean(f"signature: {place}"))

"""edgekit sign: a signature beside a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgekit.cli.options import output_form, trust_config_option


@click.command(short_help="Sign a bundle with a key or certificate, or as who you are by Sigstore.")
@click.argument("bundle")
@click.option("--key", metavar="FILE", help="PEM private key on P-256, P-384 or P-521; signs offline.")
@click.option("--certificate", metavar="FILE", help="The key's PEM certificate.")
@click.option("--chain", multiple=True, metavar="FILE", help="A certificate above it. Repeat for more.")
@click.option("--sigstore", is_flag=True, help="Keyless: your identity goes into Sigstore's public log.")
@click.option(
    "--identity-token",
    metavar="FILE",
    help="An OpenID Connect token; default: $SIGSTORE_ID_TOKEN, the CI's own, or a login in the browser.",
)
@trust_config_option
@click.option("-o", "--output", metavar="FILE", help="The signature; default: BUNDLE.sig.")
@output_form
def sign(
    bundle: str,
    *,
    chain: tuple[str, ...],
    output: str | None,
    as_json: bool,
    verbose: bool,  # noqa: ARG001
    **typed: Any,
) -> None:
    """Sign every file of BUNDLE; the bundle stays as it is. `edgekit verify` checks it."""
    from edgekit import _bundle_api
    from edgekit._signers import Keyless, read_signer
    from edgekit._sigstore import read_identity
    from edgekit.reports.json_form import document
    from edgekit.reports.terminal import clean

    signer = read_signer(typed | {"sigstore": "asked" if typed["sigstore"] else None}, chain)
    place = _bundle_api.sign(bundle, signer, output=output)
    told: dict[str, Any] = {"signature": place}
    if isinstance(signer, Keyless):
        told["identity"], told["issuer"] = read_identity(Path(place))
    lines = (clean(f"{name}: {value}") for name, value in told.items())
    click.echo(document("sign", **told) if as_json else "\n".join(lines))

"""edgekit targets, devices, doctor: what there is to convert for, and what is installed."""

from __future__ import annotations

import click

from edgekit.cli.options import output_form


@click.command(short_help="List the toolchains edgekit converts for.")
@output_form
def targets(*, as_json: bool, verbose: bool) -> None:  # noqa: ARG001 - read by the group
    """List the toolchains edgekit converts for, and what each still needs here."""
    from edgekit import api
    from edgekit.reports.json_form import document
    from edgekit.reports.listing_report import render_targets

    known, devices_known = api.list_targets(), api.list_devices()
    if as_json:
        rows = [
            {
                "name": target.name,
                "summary": target.summary,
                "missing": target.missing(),
                "devices": [device.name for device in devices_known if device.toolchain == target.name],
            }
            for target in known.values()
        ]
        click.echo(document("targets", targets=rows))
    else:
        click.echo(render_targets(list(known.values()), devices_known))


@click.command(short_help="List devices, or everything known of one.")
@click.argument("name", required=False)
@output_form
def devices(name: str | None, *, as_json: bool, verbose: bool) -> None:  # noqa: ARG001 - read by the group
    """List every device and alias, or everything known of the device NAME."""
    from edgekit import api
    from edgekit.reports.json_form import document
    from edgekit.reports.listing_report import render_device, render_devices

    known = api.list_devices(name)
    if as_json:
        click.echo(document("devices", devices=known))
    else:
        click.echo(render_device(known[0]) if name else render_devices(known))


@click.command(short_help="Say what is installed and what is missing.")
@output_form
def doctor(*, as_json: bool, verbose: bool) -> int:  # noqa: ARG001 - read by the group
    """Say what is installed, what is missing, and the command that gets it."""
    from edgekit import api
    from edgekit.reports.json_form import document
    from edgekit.reports.listing_report import render_doctor

    report = api.doctor()
    click.echo(
        document("doctor", report=report, healthy=report.healthy) if as_json else render_doctor(report)
    )
    return 0 if report.healthy else 1

"""edgekit estimate: which device is likely to keep a budget, before anything is converted."""

from __future__ import annotations

from typing import Any

import click

from edgekit.cli.options import output_form, shape_only_option, shape_option


@click.command(short_help="Predict latency, memory and power on devices, without converting.")
@click.argument("model", required=False)
@click.option("--device", "devices", multiple=True, metavar="NAME", help="Only this device. Repeat for more.")
@shape_option
@click.option("--precision", help="int8 (default), fp16, fp32, w8, w4; of components too: w4,vision=fp16.")
@click.option("--runtime", metavar="NAME", help="litert, onnxruntime, qnn or tensorrt, not the device's own.")
@click.option(
    "--on-cpu",
    multiple=True,
    metavar="NODE|OP",
    help="Nodes that stay on the CPU, a name, pattern or operator.",
)
@click.option("--budget", metavar="LIMITS", help="As latency=50ms,power=15W,memory=2GB,tokens_per_s=20.")
@click.option("--scenario", metavar="FILE", help="A scenario.toml: a request of several components.")
@click.option(
    "--measured",
    multiple=True,
    metavar="DEVICE=TIME",
    help="Latency on a device (phones: NPU), as galaxy-s24=4.2ms; of a component: galaxy-s24/vision=9ms.",
)
@click.option(
    "--measured-field",
    multiple=True,
    metavar="FILE",
    help="A measured.json of `edgekit drift -o`. Repeat for more.",
)
@shape_only_option
@output_form
def estimate(model: str | None, *, as_json: bool, verbose: bool, **typed: Any) -> int:  # noqa: ARG001
    """Rank devices for MODEL, a float source (also a folder with a scenario.toml), or for a --scenario.

    Exit 1 where no device can keep the budget.
    """
    from edgekit import api
    from edgekit.reports.estimate_report import render_estimate
    from edgekit.reports.json_form import document

    words = {name: value for name, value in typed.items() if value not in (None, ())}
    words["shapes"] = words.pop("shape", None)
    words["measured"] = dict(_pair(text) for text in words.pop("measured", ()))
    made = api.estimate(model, **words)
    click.echo(document("estimate", estimate=made) if as_json else render_estimate(made))
    broken = [any(item.status == "does not fit" for item in row.verdicts) for row in made.devices]
    return 1 if all(broken) else 0


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise click.BadParameter(f"'{text}' is not DEVICE=TIME", param_hint="--measured")
    return name, value

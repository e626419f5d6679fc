"""edgekit profile: run a bundle on a device and measure it."""

from __future__ import annotations

from typing import Any

import click

from edgekit.cli.options import output_form

_NAMES = {"component": "components", "variant": "variants", "warmup": "warm_up"}


@click.command(short_help="Run a bundle on a device and measure it.")
@click.argument("bundle")
@click.option(
    "--on",
    "place",
    default="local",
    metavar="PLACE",
    help="local (default), ssh://user@host[:port], adb://serial or mac://user@host.",
)
@click.option("--runs", type=int, metavar="N", help="Timed runs of each artifact (default 100).")
@click.option("--duration", metavar="TIME", help="Time each artifact for this long instead, as 30s.")
@click.option("--warmup", type=int, metavar="N", help="Runs before the timed ones (default 10).")
@click.option("--soak", metavar="TIME", help="Then run the first artifact on for this long, as 10m.")
@click.option("--threads", type=int, metavar="N", help="Threads of the runtime (default 1).")
@click.option("--power-mode", metavar="NAME", help="Refuse to measure in another power mode than this.")
@click.option("--component", multiple=True, metavar="NAME", help="Only this component. Repeat for more.")
@click.option("--variant", multiple=True, metavar="NAME", help="Only this variant, as int8. Repeat for more.")
@click.option("--idle", metavar="TIME", help="Watch the idle device for this long first (default 2s).")
@click.option("--patience", metavar="TIME", help="Longest silence of the device (default 2m).")
@click.option("--python", metavar="PATH", help="The device's Python that has the runtime (default python3).")
@click.option(
    "--tool",
    metavar="FILE",
    help="A benchmark tool where there is no Python: benchmark_model, onnxruntime_perf_test.",
)
@click.option("--accelerator", metavar="NAME", help="What runs it: cpu, gpu, nnapi; Core ML's units.")
@click.option("--keep", metavar="FOLDER", help="Work in this folder on the device and leave it there.")
@click.option("--power-csv", metavar="FILE", help="Log of your own power meter: time and W, or V and A.")
@click.option("--resume", metavar="FILE", help="Go on with the profile of a run that broke off.")
@click.option("--budget", metavar="LIMITS", help="As latency=50ms,power=15W,memory=2GB.")
@click.option("--recipe", metavar="FILE", help="A recipe file whose [budget] counts too.")
@click.option("-o", "--output", metavar="FILE", help="Where the JSON goes (default: beside the bundle).")
@output_form
def profile(bundle: str, *, place: str, as_json: bool, verbose: bool, **typed: Any) -> int:  # noqa: ARG001
    """Run BUNDLE on a device: compare its outputs, measure latency, memory and power."""
    from edgekit import _bundle_api
    from edgekit.cli.progress import show_progress
    from edgekit.reports.json_form import document
    from edgekit.reports.profile_report import render_profile

    words: Any = {_NAMES.get(name, name): value for name, value in typed.items() if value not in (None, ())}
    with show_progress("silent" if as_json else "auto") as progress:
        result = _bundle_api.profile(bundle, place, progress=progress, **words)
    if as_json:
        click.echo(document("profile", passed=result.passed, result=result))
    else:
        click.echo(render_profile(result))
    return 0 if result.passed else 1

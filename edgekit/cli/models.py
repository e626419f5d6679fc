"""edgekit inspect, check, calibrate and verify: look at a model or a bundle without converting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

from edgekit.cli.options import (
    TRUSTED,
    bind_option,
    cache_option,
    gate_options,
    metric_options,
    observer_option,
    output_form,
    own_options,
    recipe_options,
    samples_options,
    shape_only_option,
    shape_option,
    target_option,
    trusted_options,
)

if TYPE_CHECKING:
    from edgekit._verify_samples import VerifyOptions


@click.command(short_help="Show a model's io, ops, parameters, MACs and memory.")
@click.argument("model")
@shape_option
@shape_only_option
@output_form
def inspect(
    model: str,
    *,
    shape: tuple[str, ...],
    shape_only: bool,
    as_json: bool,
    verbose: bool,  # noqa: ARG001
) -> None:
    """Show what MODEL is: inputs, outputs, opset, ops, parameters, MACs and memory."""
    from edgekit import api
    from edgekit.reports.json_form import document
    from edgekit.reports.model_report import render_model

    first, *others = api.inspect_components(model, shape, shape_only=shape_only)
    if not as_json:
        click.echo("\n\n".join(render_model(report) for report in (first, *others)))
    elif others:
        click.echo(document("inspect", components=[first, *others]))
    else:
        click.echo(document("inspect", model=first))


@click.command(short_help="Show what each target cannot hold, before any work.")
@click.argument("model")
@target_option
@click.option(
    "--precision", multiple=True, metavar="P", help="int8 (default), fp16 or fp32. Repeat for more."
)
@shape_option
@bind_option
@own_options
@shape_only_option
@output_form
def check(model: str, *, shape_only: bool, as_json: bool, verbose: bool, **typed: Any) -> int:  # noqa: ARG001
    """Show every node of MODEL that a target cannot hold: the node, the rule, the way out."""
    from edgekit import api
    from edgekit.reports.json_form import document
    from edgekit.reports.listing_report import render_gaps

    options = recipe_options(typed)
    gaps = api.check(model, shape_only=shape_only, **options)
    stops = any(gap.severity == "error" for gap in gaps)
    asked = options.get("targets", ())
    click.echo(document("check", possible=not stops, gaps=gaps) if as_json else render_gaps(gaps, asked))
    return 1 if stops else 0


@click.command(short_help="Observe a model's ranges once, for every target.")
@click.argument("model")
@samples_options
@shape_option
@bind_option
@observer_option
@click.option("-o", "--output", metavar="FILE", help="Write the record as JSON.")
@click.option("--overwrite", is_flag=True, help="Replace a record that exists.")
@cache_option
@output_form
def calibrate(model: str, *, as_json: bool, verbose: bool, **typed: Any) -> None:  # noqa: ARG001
    """Run MODEL on samples and record the range of every tensor."""
    from edgekit import api
    from edgekit.cli.progress import show_progress
    from edgekit.reports.calibration_report import render_record
    from edgekit.reports.json_form import document

    with show_progress("silent" if as_json else "auto") as progress:
        record = api.calibrate(model, progress=progress, **recipe_options(typed))
    if as_json:
        click.echo(document("calibrate", digest=record.digest, record=record))
    else:
        click.echo(render_record(record, typed["output"]))


@click.command(short_help="Prove a bundle again, here and now.")
@click.argument("bundle")
@click.option("--on", metavar="PLACE", help="qemu-arm64: in the runtime's aarch64 wheel, emulated.")
@trusted_options
@samples_options
@gate_options
@metric_options
@output_form
def verify(bundle: str, *, as_json: bool, verbose: bool, **typed: Any) -> int:  # noqa: ARG001
    """Prove BUNDLE again: every byte as sealed, every artifact run and compared."""
    from edgekit import api
    from edgekit._signers import read_trusted
    from edgekit.cli.progress import show_progress
    from edgekit.reports.convert_report import render_proof
    from edgekit.reports.json_form import document

    with show_progress("silent" if as_json else "auto") as progress:
        place = typed.pop("on") or ""
        trusted = read_trusted({name: typed.pop(name) for name in TRUSTED})
        options = cast("VerifyOptions", recipe_options(typed))
        result = api.verify(bundle, place, signed_by=trusted, progress=progress, **options)
    if as_json:
        click.echo(document("verify", passed=result.passed, proof=result))
    else:
        click.echo(render_proof(bundle, result))
    return 0 if result.passed else 1

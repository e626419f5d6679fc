"""edgekit export: a PyTorch or Hugging Face source as ONNX files."""

from __future__ import annotations

from typing import Any

import click

from edgekit.cli.options import output_form, shape_only_option


@click.command(short_help="Write a PyTorch or Hugging Face source as proven ONNX.")
@click.argument("source")
@click.option("-o", "--output", required=True, metavar="DIR", help="A new folder for the ONNX files.")
@shape_only_option
@click.option(
    "--random-weights",
    type=click.IntRange(0, 999_999_999),
    metavar="SEED",
    help="As --shape-only; a convert draws the weights, a tensor at a time.",
)
@click.option("--trust", "trusted", is_flag=True, help="Load a pickled source: that runs its author's code.")
@output_form
def export(source: str, *, output: str, as_json: bool, verbose: bool, **typed: Any) -> None:  # noqa: ARG001
    """Write SOURCE (package.module:factory, a .pt2 file, a Hugging Face folder or id) as ONNX.

    Each file is run in ONNX Runtime beside its module, on two sets of inputs and two lengths of each open
    dim, before the folder appears. `convert` does this by itself.
    """
    from edgekit import api
    from edgekit.cli.progress import show_progress
    from edgekit.reports.json_form import document

    with show_progress("silent" if as_json else "auto") as progress:
        folder = api.export(source, output, progress=progress, **typed)
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    if as_json:
        click.echo(document("export", folder=folder, files=files))
    else:
        proof = "each ONNX file computes what its module does"
        if typed["shape_only"]:
            proof = "shapes without weights"
        if typed["random_weights"] is not None:
            proof = f"weights are random numbers of seed {typed['random_weights']}, drawn when they are read"
        click.echo(f"{folder}: {', '.join(files)}; {proof}")

"""Writes arr-coc-0-1 as ONNX components with their scenario: `python -m examples.arr_coc_0_1 -o DIR`."""

from __future__ import annotations

from pathlib import Path

import click
from transformers import Qwen3VLForConditionalGeneration

from edgekit.sources.export_source import export_components
from examples.arr_coc_0_1 import configuration
from examples.arr_coc_0_1.components import make_source, title
from examples.arr_coc_0_1.model import SEED, assemble, build


@click.command()
@click.option("--size", type=click.Choice(["reduced", "full"]), default="reduced", show_default=True)
@click.option("--pixels", type=int, help="Side of the square image: 128 (reduced) or 512 (full).")
@click.option("--keep", type=int, help="K, the visual tokens that are kept: 10 (reduced) or 200 (full).")
@click.option("--weights", type=click.Path(path_type=Path), help="A folder with the checkpoint.")
@click.option("--shape-only", is_flag=True, help="The architecture without weights, for an estimate.")
@click.option("--drawn", is_flag=True, help="Seeded random weights, drawn when a convert reads them.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path))
def main(
    size: str, *, weights: Path | None, shape_only: bool, drawn: bool, output: Path, **given: int | None
) -> None:
    """Export embed, arr, vision, prefill and decode, each run in ONNX Runtime beside its module."""
    sizes = {name: value for name, value in given.items() if value is not None}
    config = configuration.full(**sizes) if size == "full" else configuration.reduced(**sizes)
    output.mkdir(parents=True)
    if shape_only or drawn:
        from edgekit.sources.weightless import fill_hollow, without_weights

        with without_weights():
            parts = assemble(
                config,
                Qwen3VLForConditionalGeneration(config.qwen),
                "seeded random weights" if drawn else "no weights",
            )
        fill_hollow([parts.arr, parts.qwen, parts.vision])
    else:
        parts = build(config, weights)
    export_components(
        make_source(parts, shape_only=shape_only or drawn, seed=SEED if drawn else None), output, config.name
    )
    click.echo(f"{output}: {title(config, parts.weights)}")


if __name__ == "__main__":
    main()

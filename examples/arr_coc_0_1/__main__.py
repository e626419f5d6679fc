"""Writes arr-coc-0-1 as ONNX components with their scenario: `python -m examples.arr_coc_0_1 -o DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.sources.export_source import export_components
from examples.arr_coc_0_1 import configuration
from examples.arr_coc_0_1.components import hollow_source, make_source, title
from examples.arr_coc_0_1.model import SEED, build

if TYPE_CHECKING:
    from examples.arr_coc_0_1.configuration import ArrCocConfig


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
        weights_words = export_hollow(config, output, SEED if drawn else None)
    else:
        parts = build(config, weights)
        export_components(make_source(parts), output, config.name)
        weights_words = parts.weights
    click.echo(f"{output}: {title(config, weights_words)}")


def export_hollow(config: ArrCocConfig, output: Path, seed: int | None = None) -> str:
    """Write the graphs without weights, to be drawn by a convert if there is a seed; what to call them."""
    source, words = hollow_source(config, seed)
    export_components(source, output, config.name)
    return words


if __name__ == "__main__":
    main()

"""Writes docs/arr-coc-0-1: what each device would make of the full size, predicted from its graphs.

python -m examples.arr_coc_0_1.report -o docs/arr-coc-0-1 [--work DIR]     (about 2 minutes of CPU)
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

import edgekit
from edgekit.sources.export_source import export_components
from examples.arr_coc_0_1.components import ARR, VISION, hollow_source, scenario
from examples.arr_coc_0_1.configuration import full
from examples.arr_coc_0_1.report_pages import Case, CheckRow, render_image, render_index

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgekit._estimate import Estimate
    from examples.arr_coc_0_1.configuration import ArrCocConfig

DEVICES = (
    "jetson-orin-nano-super",
    "jetson-orin-nx-16gb",
    "jetson-agx-orin-64gb",
    "jetson-agx-thor",
    "iphone-16-pro",
    "iphone-17-pro",
    "ipad-pro-m4",
    "galaxy-s24",
    "galaxy-s25",
    "raspberry-pi-5",
)
IMAGES = (224, 512, 1024)
KEEPS = (64, 100, 200, 256)
# Vision stays fp16 under w4, as in the public W4A16 runs.
PRECISIONS = {"fp16": "fp16", "int8": "int8", "w4": f"w4,{VISION}=fp16,{ARR}=fp16"}
UNSELECTED = f"w4,{VISION}=fp16"
# Cosmos-Reason2-2B (a Qwen3-VL-2B) on Jetson Orin Nano Super under TensorRT Edge-LLM, W4A16, 494 image
# tokens; github hokwangchoi/jetson-orin-nano-benchmarks. 704 pixels are 484 tokens, the nearest square.
CHECK_PIXELS, CHECK_PROMPT = 704, 512
# Of the board's memory 519 MB were in use before the run began, by its own tegrastats log.
CHECK = {"vision": 208.0, "prefill": 211.0, "decode": 59.8, "memory": 4343e6 - 519e6}  # ms, ms, tokens/s, B


@click.command()
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path))
@click.option(
    "--work", type=click.Path(path_type=Path), help="Keep the exported graphs here and use them again."
)
def main(output: Path, *, work: Path | None) -> None:
    """Export the full size without weights, estimate every case, write the pages."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = work or Path(scratch)
        cases = list(estimate_cases(folder))
        check = estimate_check(folder)
    output.mkdir(parents=True, exist_ok=True)
    (output / "index.md").write_text(render_index(cases, check), encoding="utf-8")
    for pixels in IMAGES:
        own = [case for case in cases if case.config.pixels == pixels]
        (output / f"{pixels}.md").write_text(render_image(own), encoding="utf-8")
    click.echo(f"{output}: index.md, {', '.join(f'{pixels}.md' for pixels in IMAGES)}")


def estimate_cases(work: Path) -> Iterator[Case]:
    """Every image size, K and precision; K at or above the merged tokens stands once, as no selection."""
    for pixels in IMAGES:
        merged = full(pixels).merged
        for keep in (*(keep for keep in KEEPS if keep < merged), merged):
            config = full(pixels, keep)
            for name, words in PRECISIONS.items():
                asked = words if keep < merged else words.replace(f",{ARR}=fp16", "")
                yield Case(config, name, estimate(config, work, asked))


def estimate_check(work: Path) -> list[CheckRow]:
    """Our prediction beside each public figure of that run."""
    config = full(CHECK_PIXELS, 10**6)
    config = replace(config, text=CHECK_PROMPT - config.merged)
    (device,) = estimate(config, work, UNSELECTED, devices=("jetson-orin-nano-super",)).devices
    figures = {figure.metric: figure for figure in device.figures}
    steps = {step.component: step.latency for step in device.steps}
    got = {
        "vision": steps["vision"],
        "prefill": steps["prefill"],
        "decode": figures["tokens_per_s"],
        "memory": figures["memory"],
    }
    return [CheckRow(name, got[name], value) for name, value in CHECK.items()]


def estimate(
    config: ArrCocConfig, work: Path, precision: str, *, devices: tuple[str, ...] | None = None
) -> Estimate:
    """`edgekit estimate` of the graphs of that image size, under a scenario with that K."""
    folder = graphs(config, work)
    path = folder / f"scenario-{config.kept}.toml"
    path.write_text(scenario(config, "no weights"), encoding="utf-8")
    return edgekit.estimate(scenario=path, devices=devices or DEVICES, precision=precision)


def graphs(config: ArrCocConfig, work: Path) -> Path:
    """The exported components of an image size; K changes sizes alone, but for the allocator's TopK.

    What the image's size does not change is exported once.
    """
    folder = work / str(config.pixels)
    if (folder / "scenario.toml").is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source, _ = hollow_source(full(config.pixels, keep=min(200, config.merged - 1)))
    known = next(iter(sorted(work.glob("*/scenario.toml"))), None)
    if known is not None:
        for name in set(source.components) - {ARR, VISION}:
            shutil.copy(known.with_name(f"{name}.onnx"), folder)
        source = replace(source, components={name: source.components[name] for name in (ARR, VISION)})
    export_components(source, folder, f"{config.name} at {config.pixels}")
    return folder


if __name__ == "__main__":
    main()

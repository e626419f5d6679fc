"""edgekit convert: one model, one bundle a target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.options import (
    bind_option,
    cache_option,
    gate_options,
    metric_options,
    observer_option,
    output_form,
    own_options,
    recipe_options,
    samples_options,
    shape_option,
    steering_options,
    target_option,
)

if TYPE_CHECKING:
    from edgekit._recipe import Recipe


@click.command(short_help="Convert a model into one proven bundle a target.")
@click.argument("model", required=False)
@target_option
@click.option("--precision", multiple=True, metavar="P", help="auto, int8, w8, w4, fp16 or fp32. Repeatable.")
@samples_options
@shape_option
@bind_option
@observer_option
@click.option("--budget", metavar="LIMITS", help="As latency=50ms,power=15W,memory=2GB,size=20MB.")
@steering_options
@gate_options
@metric_options
@click.option("--max-drop", metavar="SHARE", help="Search the INT8 that loses no more, as 0.5%.")
@click.option(
    "--golden", metavar="KIND", help="Golden data in the bundle: samples, or random for private data."
)
@click.option("--golden-count", type=int, metavar="N", help="How many golden samples (default 4).")
@click.option(
    "--sketch", multiple=True, metavar="NODE", help="Sketch this inner value for `drift`. Repeatable."
)
@own_options
@click.option("-o", "--output", metavar="DIR", help="Where the bundles go (default ./MODEL-edgekit).")
@click.option("--archive", is_flag=True, help="Write an archive of each bundle beside it.")
@click.option("--overwrite", is_flag=True, help="Replace bundles (and a recipe) that exist.")
@click.option("--recipe", "recipe_file", metavar="FILE", help="Take every option from this TOML file first.")
@click.option("--save-recipe", "save_as", metavar="FILE", help="Keep these options as a TOML file.")
@click.option("--trust", is_flag=True, help="Run the code that a recipe names; load a pickled source.")
@click.option("--dry-run", is_flag=True, help="Check everything, print the plan, write nothing.")
@cache_option
@output_form
def convert(*, as_json: bool, verbose: bool, dry_run: bool, **typed: Any) -> int:  # noqa: ARG001
    """Convert MODEL into one bundle a target, each with the proof that it works.

    \b
    edgekit convert M.onnx --target jetson-orin
    edgekit convert M.onnx --target jetson-orin --target ort-mobile --samples DATA
    edgekit convert --recipe edgekit.toml

    INT8 where samples are given, else the target's default float.
    """
    save_as = typed.pop("save_as")
    recipe = read_recipe(typed)
    if save_as:
        if dry_run:
            raise click.UsageError("--dry-run writes nothing, so it cannot --save-recipe")
        keep_recipe(recipe, Path(save_as))
    return _show_plan(recipe, as_json=as_json) if dry_run else _convert(recipe, as_json=as_json)


def read_recipe(typed: dict[str, Any]) -> Recipe:
    """The recipe of a command line: a recipe file, if one is named, below what was typed."""
    from edgekit._recipe import Recipe
    from edgekit._recipe_file import load_recipe

    model, path, trust = typed.pop("model"), typed.pop("recipe_file", None), typed.pop("trust", False)
    options = recipe_options(typed)
    if path:
        recipe = load_recipe(path, model, trust="code" if trust else "data", **options)
        return replace(recipe, trusted=trust)
    if not model:
        raise click.UsageError("no model is given: name an ONNX file, or a recipe with --recipe")
    if trust and Path(model).suffix == ".onnx":
        raise click.UsageError("--trust is about a recipe file or a pickled source, and there is neither")
    return replace(Recipe.of(model, **options), trusted=trust)


def keep_recipe(recipe: Recipe, path: Path) -> None:
    """Save a recipe; a file that exists is only replaced with --overwrite."""
    from edgekit._recipe_file import save_recipe
    from edgekit.errors import OutputError

    if path.exists() and not recipe.overwrite:
        raise OutputError(f"'{path}' exists", fix="name another file for --save-recipe, or add --overwrite")
    try:
        save_recipe(recipe, path)
    except OSError as error:
        raise OutputError(
            f"the recipe '{path}' cannot be written ({error.strerror})", fix="name another place"
        ) from error


def _convert(recipe: Recipe, *, as_json: bool) -> int:
    from edgekit import api
    from edgekit.cli.progress import show_progress
    from edgekit.reports.convert_report import render_convert
    from edgekit.reports.json_form import document

    with show_progress("silent" if as_json else "auto") as progress:
        result = api.convert(recipe, progress=progress)
    if as_json:
        click.echo(document("convert", passed=result.passed, bundles=result.bundles, notes=result.notes))
    else:
        click.echo(render_convert(result))
    return 0 if result.passed else 1


def _show_plan(recipe: Recipe, *, as_json: bool) -> int:
    from edgekit import api
    from edgekit.reports.json_form import document
    from edgekit.reports.plan_report import render_plan

    plan = api.plan(recipe)
    click.echo(document("plan", possible=plan.possible, plan=plan) if as_json else render_plan(plan, recipe))
    return 0 if plan.possible else 1

"""The main path: one model in, one proven bundle a target out."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._budget import judge_budget
from edgekit._cache import key, open_cache, tool_versions
from edgekit._foretold import foretell_bundle
from edgekit._guard import choose_offers
from edgekit._plan import load_source, resolve_all
from edgekit._results import BundleResult, ConvertResult
from edgekit.calibration.function_samples import find_module_file
from edgekit.errors import OutputError, UsageError
from edgekit.registry import find_plugins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._bundle.write import Existing
    from edgekit._cache import Cache
    from edgekit._recipe import Recipe
    from edgekit._values import Progress
    from edgekit._workshop import Workshop
    from edgekit.registry import ResolvedTarget

STAGE = "bundle"


def convert_recipe(recipe: Recipe, progress: Progress) -> ConvertResult:
    """One bundle for each of the recipe's targets, proven before it is put in place.

    Raises EdgekitError for whatever stops the work before a bundle exists; an artifact below its gate
    is reported in the result instead, and `passed` is False.
    """
    from edgekit._bundle import check_place
    from edgekit._open_workshops import open_workshops
    from edgekit._qdq import ALL

    if ALL in recipe.only_ops:
        raise UsageError(
            "--only all quantizes ops that no target has in int8",
            fix="look with `edgekit debug --only all`; for a bundle leave it out, or name ops such as Conv",
        )
    targets = resolve_all(recipe)
    for item in targets:
        check_place(recipe.output_folder / item.device.name)
    notes = list(dict.fromkeys(item.note for item in targets if item.note))
    for note in notes:
        progress(note, 0, 0)
    progress("load model", 0, None)
    with open_cache(recipe.cache) as cache:
        workshops = open_workshops(
            load_source(recipe), targets, recipe=recipe, cache=cache, progress=progress
        )
        # No bundle is put in place before all are made: a target that refuses leaves no half of the work.
        made = [_make_bundle(item, workshops, cache) for item in targets]
        pairs = [_put_in_place(item, recipe, bundle) for item, bundle in zip(targets, made, strict=True)]
    presets = [f"{bundle.device.name}: {line}" for bundle, lines in pairs for line in lines]
    return ConvertResult(tuple(bundle for bundle, _ in pairs), (*notes, *presets))


def _make_bundle(item: ResolvedTarget, workshops: Sequence[Workshop], cache: Cache) -> Path:
    """Build and prove one bundle, or take it from the cache."""
    from edgekit._convert_target import build_bundle, hand_on_mixes

    made = cache.folder(
        STAGE,
        key([_bundle_key(item, workshop) for workshop in workshops]),
        lambda folder: build_bundle(item, workshops, folder / item.device.name),
    )
    hand_on_mixes(made / item.device.name, workshops)
    return made / item.device.name


def _put_in_place(item: ResolvedTarget, recipe: Recipe, made: Path) -> tuple[BundleResult, tuple[str, ...]]:
    """Copy one bundle to where the user wants it, and the lines that explain the presets it was made with."""
    from edgekit._bundle import (
        copy_bundle,
        host_figures,
        loaded_size,
        read_artifacts,
        read_gaps,
        read_parities,
        write_archive,
    )

    folder = recipe.output_folder / item.device.name
    existing: Existing = "replace" if recipe.overwrite else "refuse"
    _make_output_folder(recipe.output_folder)
    bundle = copy_bundle(made, folder, existing=existing)
    if recipe.archive:
        write_archive(folder, folder.with_name(f"{folder.name}.tar.gz"), existing=existing)
    artifacts, parities = read_artifacts(bundle), read_parities(bundle)
    figures = (*host_figures(bundle), *foretell_bundle(bundle, item.target, item.device))
    sizes = {one.main: loaded_size([one], folder) for one in artifacts}
    result = BundleResult(
        requested=item.requested,
        device=item.device,
        folder=folder,
        digest=bundle.digest,
        artifacts=artifacts,
        parities=parities,
        gaps=read_gaps(bundle),
        verdicts=judge_budget(recipe.budget, figures),
        notes=tuple(bundle.manifest["warnings"]),
        figures=figures,
        offers=choose_offers(artifacts, parities, sizes),
    )
    return result, tuple(bundle.manifest["notes"])


def _bundle_key(item: ResolvedTarget, workshop: Workshop) -> str:
    """Everything one component's part of a bundle follows from; the cache covers edgekit's code and tools.

    The other targets are part of it, for the graph is expanded for all of them together; in their order where
    one may take over what another's search found.
    """
    recipe = workshop.recipe
    plugin = find_plugins()[item.target.name]
    form = (
        recipe.precisions,
        {name: [str(dim) for dim in dims] for name, dims in recipe.shapes.items()},
        (dict(recipe.bind), recipe.observer, recipe.scheme, recipe.float_nodes, recipe.only_ops),
        (recipe.weight_block, recipe.weights, recipe.rounding),
        (recipe.metric, _judge_digests(recipe), dict(recipe.gate), recipe.max_drop),
        (recipe.golden, recipe.golden_count, recipe.sketch, dict(recipe.options)),
    )
    everyone = [
        f"{other.target.name} {other.device.name}@{other.device.software}" for other in workshop.targets
    ]
    if recipe.max_drop is None:
        everyone.sort()
    source = workshop.source
    made_by = (plugin.version, tool_versions(item.target.tools()))
    return key(source.name, source.digest, workshop.data_digest, item.device, made_by, everyone, form)


def _judge_digests(recipe: Recipe) -> tuple[str | None, ...]:
    """Of the files that decide a task score: the vocabulary, and the module of the user's own metric."""
    files = [None if recipe.vocabulary is None else Path(recipe.vocabulary)]
    if recipe.metric is not None and ":" in recipe.metric:
        files.append(find_module_file(recipe.metric))
    return tuple(None if file is None else hashlib.sha256(file.read_bytes()).hexdigest() for file in files)


def _make_output_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"output folder '{folder}' cannot be made ({error.strerror})", fix="name another one with -o"
        ) from error

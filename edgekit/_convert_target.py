"""One target's bundle: every variant quantized, checked, built, proven, then sealed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._bundle import BundleDraft, write_bundle
from edgekit._cache import tool_versions
from edgekit._plan import choose_precisions, refuse_errors
from edgekit._target_work import TargetWork

if TYPE_CHECKING:
    from edgekit._values import Component, Gap, Precision
    from edgekit._workshop import Workshop
    from edgekit.registry import ResolvedTarget
    from edgekit.target import Job


def build_bundle(item: ResolvedTarget, workshop: Workshop, folder: Path) -> None:
    """Write the sealed bundle of one target to `folder`.

    GapError before anything is built where a target cannot hold a variant.
    """
    work = TargetWork(item, workshop)
    precisions, note = choose_precisions(workshop.recipe, work.plan)
    if note:
        workshop.progress(f"{item.device.name}: {note}", 0, 0)
    jobs: dict[Precision, Job] = {precision: work.job(precision) for precision in precisions}
    components: dict[Precision, Component] = {
        precision: work.component(precision) for precision in precisions
    }
    gaps = _check(item, components, jobs)
    # Beside the bundle, where the cache sweeps away what a killed run left.
    with tempfile.TemporaryDirectory(prefix=".built-", dir=folder.parent) as place:
        built = Path(place)
        artifacts = [artifact for job in jobs.values() for artifact in work.build(job, components, built)]
        golden = work.golden()
        parities = [work.prove(artifact, golden, built) for artifact in artifacts]
        extras = item.target.extras(artifacts, jobs[precisions[0]], built)
        draft = BundleDraft(
            device=item.device,
            target=item.target.name,
            built=built,
            artifacts=tuple(artifacts),
            components=(work.describe(work.kept_golden(golden)),),
            parities=tuple(parities),
            samples=work.samples_kind,
            scheme=work.scheme,
            extras=tuple(extras),
            gaps=gaps,
            gates={precision: work.gate(precision) for precision in precisions},
            tools=tool_versions(),
            documents=work.documents(),
            notes=tuple(filter(None, (*_bound_words(workshop), note, work.scheme_note, *work.methods))),
        )
        workshop.progress(f"{item.device.name}: seal bundle", 0, None)
        write_bundle(draft, folder)


def _bound_words(workshop: Workshop) -> list[str]:
    return [f"input '{name}' is a constant, {value}" for name, value in workshop.recipe.bind.items()]


def _check(
    item: ResolvedTarget, components: dict[Precision, Component], jobs: dict[Precision, Job]
) -> tuple[Gap, ...]:
    """The gaps of every variant as it would be built; errors end the work."""
    found = [
        gap
        for precision, component in components.items()
        for gap in item.target.check([component], jobs[precision])
    ]
    gaps = tuple(dict.fromkeys(found))
    refuse_errors(item, gaps)
    return gaps

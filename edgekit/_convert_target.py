"""One target's bundle: every variant of every component quantized, checked, built, proven, then sealed."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._bundle import BundleDraft, share_weights, write_bundle
from edgekit._cache import tool_versions
from edgekit._plan import choose_precisions, refuse_errors
from edgekit._search import MIX, read_mix
from edgekit._target_work import TargetWork
from edgekit._verify import find_decoder, make_sequence, prove_steps
from edgekit.sources.drawn_weights import has_drawn_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgekit._results import Parity
    from edgekit._values import Artifact, Component, Gap, Precision
    from edgekit._verify import ForcedSequence, Golden
    from edgekit._workshop import Workshop
    from edgekit.registry import ResolvedTarget
    from edgekit.target import Job


@dataclass(frozen=True)
class _Part:
    """One component on its way into the bundle: its variants, what was asked for first, and why."""

    work: TargetWork
    jobs: Mapping[Precision, Job]
    components: Mapping[Precision, Component]
    note: str

    @property
    def name(self) -> str:
        return self.work.workshop.component.name

    def gaps(self) -> list[Gap]:
        """What the target cannot hold of any variant, as it would be built."""
        target = self.work.item.target
        return [
            gap
            for precision, component in self.components.items()
            for gap in target.check([component], self.jobs[precision])
        ]

    def build(self, out: Path) -> list[Artifact]:
        return [
            artifact for job in self.jobs.values() for artifact in self.work.build(job, self.components, out)
        ]

    def notes(self) -> tuple[str, ...]:
        shop = self.work.workshop
        bound = [f"input '{name}' is a constant, {value}" for name, value in shop.recipe.bind.items()]
        return tuple(
            filter(
                None, (*bound, self.note, self.work.scheme_note, self.work.rounding_note, *self.work.methods)
            )
        )


def build_bundle(item: ResolvedTarget, workshops: Sequence[Workshop], folder: Path) -> None:
    """Write the sealed bundle of one target to `folder`.

    GapError before anything is built where a target cannot hold a variant of some component.
    """
    parts = [_plan_part(item, workshop) for workshop in workshops]
    progress = workshops[0].progress
    for note in dict.fromkeys(part.note for part in parts if part.note):
        progress(f"{item.device.name}: {note}", 0, 0)
    gaps = tuple(dict.fromkeys(gap for part in parts for gap in part.gaps()))
    refuse_errors(item, gaps)
    # Beside the bundle, where the cache sweeps away what a killed run left.
    with tempfile.TemporaryDirectory(prefix=".built-", dir=folder.parent) as place:
        built = Path(place)
        made = {part.name: part.build(built) for part in parts}
        artifacts = share_weights([one for some in made.values() for one in some], built)
        golden = {part.name: part.work.golden() for part in parts}
        parities = [
            part.work.prove(artifact, golden[part.name], built)
            for part in parts
            for artifact in artifacts
            if artifact.component == part.name
        ]
        sequence, parities = _prove_steps(parts, artifacts, parities, golden=golden, built=built)
        draft = _draft(parts, artifacts, parities, golden=golden, built=built)
        draft = replace(draft, sequence=sequence, gaps=gaps)
        progress(f"{item.device.name}: seal bundle", 0, None)
        write_bundle(draft, folder)


def hand_on_mixes(folder: Path, workshops: Sequence[Workshop]) -> None:
    """Let later targets try what each component's search ended with: it is read from the bundle in `folder`.

    So it is the same whether that bundle was made now or lay in the cache.
    """
    for workshop in workshops:
        table = folder / _name_document(MIX, workshop.source.name, len(workshops))
        mix = read_mix(json.loads(table.read_text(encoding="utf-8"))) if table.is_file() else None
        if mix is not None and mix not in workshop.mixes:
            workshop.mixes.append(mix)


def _plan_part(item: ResolvedTarget, workshop: Workshop) -> _Part:
    work = TargetWork(item, workshop)
    precisions, note = choose_precisions(workshop.recipe, work.plan)
    if "int8" in precisions:
        refuse_errors(item, workshop.find_gaps(item, precisions))  # before minutes of calibration
    jobs: dict[Precision, Job] = {precision: work.job(precision) for precision in precisions}
    components: dict[Precision, Component] = {
        precision: work.component(precision) for precision in precisions
    }
    work.refuse_lost_inner()
    return _Part(work, jobs, components, note)


def _prove_steps(
    parts: Sequence[_Part],
    artifacts: Sequence[Artifact],
    parities: list[Parity],
    *,
    golden: Mapping[str, Golden],
    built: Path,
) -> tuple[ForcedSequence | None, list[Parity]]:
    """Where the components make a decoder: tokens with fp32's logits, and the artifacts driven with them."""
    work = {part.name: part.work for part in parts}
    decoder = find_decoder(golden)
    if decoder is None:
        return None, parities
    target, shop = parts[0].work.item.target, work[decoder.decode].workshop
    shop.progress(f"{parts[0].work.item.device.name}: prove decode steps", 0, None)
    fp32 = {name: one.workshop.expected for name, one in work.items()}
    sequence = make_sequence(decoder, fp32, drawn=has_drawn_weights(shop.source.model))
    if sequence is None:
        return None, parities
    judged = prove_steps(
        list(zip(artifacts, parities, strict=True)),
        sequence,
        decoder,
        open_session=lambda artifact: target.open(artifact, built),
        gate=lambda artifact: work[artifact.component].gate(artifact.variant),
    )
    return sequence, judged


def _draft(
    parts: Sequence[_Part],
    artifacts: Sequence[Artifact],
    parities: Sequence[Parity],
    *,
    golden: Mapping[str, Golden],
    built: Path,
) -> BundleDraft:
    """What goes into the bundle; notes and documents of several components carry the component's name."""
    first = parts[0].work
    notes = {part.name: part.notes() for part in parts}
    documents = {part.name: part.work.documents() for part in parts}
    schemes = dict.fromkeys(part.work.scheme for part in parts if part.work.scheme)
    return BundleDraft(
        device=first.item.device,
        target=first.item.target.name,
        built=built,
        artifacts=tuple(artifacts),
        components=tuple(part.work.describe(part.work.kept_golden(golden[part.name])) for part in parts),
        parities=tuple(parities),
        samples=first.samples_kind,
        scheme=", ".join(schemes) or None,
        extras=tuple(first.item.target.extras(artifacts, _whole_job(parts), built)),
        gates={precision: first.gate(precision) for precision in parts[0].jobs},
        tools=tool_versions(first.item.target.tools()),
        documents=_merge_documents(documents),
        notes=_merge_notes(notes),
    )


def _whole_job(parts: Sequence[_Part]) -> Job:
    """The job that was asked for first, with the scales and shapes of every component."""
    jobs = {part.name: next(iter(part.jobs.values())) for part in parts}
    scales = {name: scales for job in jobs.values() for name, scales in job.scales.items()}
    first = jobs[parts[0].name]
    return replace(first, scales=scales, component_shapes={name: job.shapes for name, job in jobs.items()})


def _merge_documents(documents: Mapping[str, Mapping[str, bytes]]) -> dict[str, bytes]:
    return {
        _name_document(file, name, len(documents)): data
        for name, files in documents.items()
        for file, data in files.items()
    }


def _name_document(file: str, component: str, components: int) -> str:
    return file if components == 1 else f"{component}.{file}"


def _merge_notes(notes: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Each note once where all components share it, else with its component's name."""
    shared = [note for note in next(iter(notes.values())) if all(note in own for own in notes.values())]
    own = [f"{name}: {note}" for name, lines in notes.items() for note in lines if note not in shared]
    return (*shared, *own)

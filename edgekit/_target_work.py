"""What one target needs of the workshop: its graphs, builds, proofs and documents, each made once."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from edgekit._bundle import NO_ACCURACY, ComponentDraft
from edgekit._choose_form import choose_form, list_forms, plan_form
from edgekit._inner_sketches import measure_roundings, refuse_lost
from edgekit._plan import choose_scheme, job_for, refuse_errors, weight_gaps
from edgekit._qdq import INT4_OPSET
from edgekit._schemes import SCHEMES, WEIGHT_BITS
from edgekit._search import MIX, Judge, WideChoice, search_mix
from edgekit._tasks import score_task
from edgekit._verify import (
    gate_for,
    resume,
    unproven,
    verify_artifact,
    with_others,
    with_worst,
    worst_tensors,
)
from edgekit._verify_samples import open_metric
from edgekit._work import count_work
from edgekit.errors import CannotRunHere
from edgekit.passes.lower_opset import lower_component
from edgekit.sources.graph_io import inputs_of, outputs_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import onnx_ir as ir

    from edgekit._bundle.draft import SamplesKind
    from edgekit._qdq import QdqResult, WeightsResult
    from edgekit._results import Parity, TaskScore
    from edgekit._search import FoundMix
    from edgekit._values import Artifact, Component, Precision
    from edgekit._verify import Gate, Golden, RememberedSession, WorstTensor
    from edgekit._verify.golden import GoldenKind
    from edgekit._workshop import Workshop
    from edgekit.registry import ResolvedTarget
    from edgekit.target import Job, Session

_LICENCE_KEYS = ("license", "licence", "License", "SPDX-License-Identifier")


class TargetWork:
    """What one target needs of the workshop, made once for all its variants."""

    def __init__(self, item: ResolvedTarget, workshop: Workshop) -> None:
        self.item = item
        self.workshop = workshop
        self.plan = workshop.plan(item)
        self.scheme_note = ""
        self._quantized: QdqResult | None = None
        self._weighted: dict[Precision, WeightsResult] = {}
        self._measured: RememberedSession | None = None
        self._unmet: tuple[str, ...] = ()
        self._mix: FoundMix | None = None

    def quantized(self) -> QdqResult:
        """The Q/DQ graph in the scheme that the recipe names, or that the samples speak for."""
        if self._quantized is None:
            scheme = choose_scheme(self.workshop.recipe, self.plan)
            allowed = self.workshop.recipe.max_drop
            if allowed is not None:
                forms = list_forms(self.workshop, self.plan, scheme)
                wide = WideChoice(self.plan.wide, self.plan.no_wide)
                judge = Judge(self.workshop, allowed, self.gate("int8"))
                self._mix = found = search_mix(self.workshop, forms, judge, wide)
                self._quantized, self.scheme_note = found.result, found.note
                self._measured = self.workshop.remember(found.reference)
                self._unmet = () if found.enough else (found.note,)
            elif self.samples_kind != "samples":
                form = plan_form(self.plan, SCHEMES[scheme])
                self._quantized, self._measured = self.workshop.quantize(form), self.workshop.reference(form)
            else:
                chosen = choose_form(self.workshop, self.plan, scheme)
                self._quantized, self.scheme_note = chosen.result, chosen.note
                self._measured = chosen.reference
        return self._quantized

    @property
    def methods(self) -> list[str]:
        """How the integer weights were found, a line a variant."""
        return [result.method for result in self._weighted.values()]

    @property
    def rounding_note(self) -> str:
        """How the weights of the INT8 variant were rounded; "" to the nearest."""
        scheme = self.scheme
        mix = None if self._mix is None else self._mix.mix
        chosen = None if scheme is None else self.workshop.roundings(SCHEMES[scheme], mix)
        return "" if chosen is None else chosen.words

    @property
    def scheme(self) -> str | None:
        """The scheme of the INT8 variant; None without one."""
        return None if self._quantized is None else self._quantized.scales.scheme

    def component(self, precision: Precision) -> Component:
        """The variant's graph, in an opset that the target reads."""
        if precision in WEIGHT_BITS:
            return lower_component(self.weighted(precision).component, self._weights_opset(precision))
        source = self.quantized().component if precision == "int8" else self.workshop.component
        return lower_component(source, self.plan.max_opset)

    def _weights_opset(self, precision: Precision) -> int | None:
        """A target that holds int4 reads the DequantizeLinear they came with, whatever else it is held to."""
        most = self.plan.max_opset
        return most if most is None or WEIGHT_BITS[precision] == 8 else max(most, INT4_OPSET)

    def weighted(self, precision: Precision) -> WeightsResult:
        """The graph with integer weights, in the forms that the target has; made once."""
        if precision not in self._weighted:
            refuse_errors(self.item, weight_gaps(self.item, self.plan, [precision]))
            self._weighted[precision] = self.workshop.weights.quantize(self.plan.weights, precision)
        return self._weighted[precision]

    def job(self, precision: Precision) -> Job:
        asked = job_for(self.item, self.workshop.recipe)
        job = replace(asked, precision=precision, inner=self.workshop.sketches.inner)
        if precision != "int8":
            return job
        return replace(job, scales={self.workshop.component.name: self.quantized().scales})

    @property
    def samples_kind(self) -> SamplesKind:
        if self.workshop.recipe.samples is None:
            return "none"
        return "random" if self.workshop.samples.kind == "random" else "samples"

    def gate(self, precision: Precision) -> Gate:
        """The gate of a variant; scales fitted to noise are held to their own Q/DQ graph, not to fp32."""
        limits = self._limits(precision)
        noise = precision == "int8" and self.samples_kind == "random"
        return gate_for(precision, NO_ACCURACY | dict(limits) if noise else limits)

    def _limits(self, precision: Precision) -> Mapping[str, float]:
        """The user's own limits of the gate, `--max-drop` too; INT8 is held to that by `_lost` besides."""
        recipe = self.workshop.recipe
        if recipe.max_drop is None:
            return recipe.gate
        if recipe.metric:
            return {"max_task_drop": recipe.max_drop} | dict(recipe.gate)
        kept = 1 - recipe.max_drop
        if precision == "int8":
            kept = min(kept, gate_for(precision).min_top1 or kept)
        return {"min_top1": kept} | dict(recipe.gate)

    def build(self, job: Job, components: Mapping[Precision, Component], out: Path) -> list[Artifact]:
        self.workshop.progress(f"{self.item.device.name}: build {job.precision}", 0, None)
        return self.item.target.build([components[job.precision]], job, out)

    def golden(self) -> Golden:
        """The samples to prove on: the user's own wherever there are any."""
        kind: GoldenKind = "samples" if self.samples_kind == "samples" else "random"
        return self.workshop.make_golden(kind, self._measured)

    def kept_golden(self, golden: Golden) -> Golden:
        """The samples that go into the bundle: noise in their place where the user's are private."""
        private = self.workshop.recipe.golden == "random" and golden.kind != "random"
        return self.workshop.make_golden("random", self._measured) if private else golden

    def prove(self, artifact: Artifact, golden: Golden, built: Path) -> Parity:
        """Run the artifact here; where it falls short, name the tensors that lose most."""
        self.workshop.progress(f"{self.item.device.name}: prove {artifact.variant}", 0, None)
        try:
            session = self._resume(artifact, built) or self.item.target.open(artifact, built)
        except CannotRunHere as reason:
            return unproven(artifact, str(reason))
        gate, task = self.gate(artifact.variant), self._score(session, artifact)
        parity = verify_artifact(session, artifact, golden=golden, gate=gate, task=task)
        others = self.item.target.open_others(artifact, built)
        parity = with_others(parity, others, artifact, golden=golden, gate=gate)
        if artifact.variant == "int8":
            missed = (*parity.gate_failures, *self._unmet, *self._lost({"": session, **others}, golden))
            parity = replace(parity, gate_failures=missed)
        if parity.failed and artifact.variant == "int8":
            return with_worst(parity, self._find_worst(golden))
        return parity

    def _lost(self, sessions: Mapping[str, Session], golden: Golden) -> list[str]:
        """What the artifact loses by the search's own judgement, on each of the kernels it runs on here."""
        if self._mix is None or self.workshop.recipe.metric is not None:
            return []
        judge = Judge(self.workshop, self._mix.allowed)
        found = ((name, line) for name in sessions for line in judge.find_faults(sessions[name], golden))
        return [f"{name}: {line}" if name else line for name, line in found]

    def _resume(self, artifact: Artifact, built: Path) -> Session | None:
        """The session of the Q/DQ reference, where the artifact is that very file, run in the same way."""
        if artifact.variant != "int8" or not self.item.target.runs_as_written(artifact):
            return None
        return self._measured and resume(self._measured, built / artifact.main)

    def _score(self, session: Session, artifact: Artifact) -> TaskScore | None:
        """The task metric on all samples, for what is not fp32 itself."""
        recipe = self.workshop.recipe
        if recipe.metric is None or artifact.variant == "fp32":
            return None
        metric = open_metric(recipe, self.workshop.expected.metadata)
        return score_task(session, self.workshop.expected, self.workshop.samples, metric=metric)

    def _find_worst(self, golden: Golden) -> Sequence[WorstTensor]:
        quantized = self.quantized()
        feeds = [sample.feeds for sample in golden.samples]
        names = list(quantized.scales.tensors)
        return worst_tensors(self.workshop.equalized.model, quantized.component.model, feeds, tensors=names)

    def documents(self) -> dict[str, bytes]:
        """The scale table, why each node is int8 or not, and how each weight is held."""
        found = {
            f"weights.{precision}.json": _as_json(
                {
                    "schema": "edgekit.weights/1",
                    "method": result.method,
                    "nodes": [asdict(decision) for decision in result.decisions],
                }
            )
            for precision, result in self._weighted.items()
        }
        if self._quantized is None:
            return found
        quantized = self._quantized
        scales = {"scheme": quantized.scales.scheme, "record": quantized.scales.record_digest}
        table = {name: asdict(params) for name, params in quantized.scales.tensors.items()}
        rows = [asdict(decision) for decision in quantized.decisions]
        if self._mix is not None:
            found[MIX] = _as_json(self._mix.table())
        return found | {
            "scales.json": _as_json({"schema": "edgekit.scales/1", **scales, "tensors": table}),
            "decisions.json": _as_json({"schema": "edgekit.decisions/1", "nodes": rows}),
        }

    def refuse_lost_inner(self) -> None:
        """UsageError for an inner tensor to sketch that a variant does not hold as the float model does."""
        for variant, model in self._rounded().items():
            refuse_lost(self.workshop.sketches.inner, model, variant)

    def _rounded(self) -> dict[Precision, ir.Model]:
        """The graphs that were made of the float one, by variant."""
        made: dict[Precision, ir.Model] = {
            precision: result.component.model for precision, result in self._weighted.items()
        }
        if self._quantized is not None:
            made["int8"] = self._quantized.component.model
        return made

    def _sketches(self, golden: Golden) -> bytes | None:
        """Of the samples, with how far the rounding of each integer variant moves the inner values."""
        shop = self.workshop
        if not shop.sketches.may_sketch:
            return None
        if self._quantized is not None and not shop.sketches.inner:
            return shop.calibration_sketches
        sketches = shop.sketches.of_samples
        if sketches is None:
            return None
        feeds = [sample.feeds for sample in golden.samples]
        scales = {} if self._quantized is None else self._quantized.scales.tensors
        steps = {name: scales[name].scale if name in scales else 0.0 for name in shop.sketches.inner}
        rounding = {
            str(variant): measure_roundings(
                shop.component.model, model, feeds, steps if variant == "int8" else dict.fromkeys(steps, 0.0)
            )
            for variant, model in (self._rounded().items() if steps else ())
        }
        return sketches.to_json(rounding).encode()

    def describe(self, golden: Golden) -> ComponentDraft:
        shop = self.workshop
        model = shop.component.model
        calibrated = self._quantized is not None
        properties = model.metadata_props
        spec = shop.samples.preprocess
        names = [value.name for value in model.graph.inputs]
        return ComponentDraft(
            name=shop.component.name,
            source_sha256=shop.source.digest,
            inputs=inputs_of(model),
            outputs=outputs_of(model),
            golden=golden,
            licence=next((properties[name] for name in _LICENCE_KEYS if name in properties), None),
            preprocessing={} if spec is None else {str(names[0]): str(spec)},
            record=shop.record.to_json().encode() if calibrated else None,
            record_digest=shop.record.digest if calibrated else None,
            sketches=self._sketches(golden),
            inner=shop.sketches.inner,
            work=count_work(model),
        )


def _as_json(value: object) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=True) + "\n").encode()

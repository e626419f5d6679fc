"""What a convert would do, before it does any of it: targets resolved, variants chosen, gaps found."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgekit._schemes import WEIGHT_BITS
from edgekit._scope_recipe import scope_recipe
from edgekit._values import Gap
from edgekit.errors import GapError, ModelError, UsageError
from edgekit.registry import ResolvedTarget, resolve_target
from edgekit.target import Job, Plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from edgekit._recipe import Recipe
    from edgekit._values import Component, Device, Precision


@dataclass(frozen=True)
class TargetPlan:
    """One bundle to be: the device, the variants it will hold (baselines included) and its gaps."""

    requested: str
    note: str
    target: str
    device: Device
    precisions: tuple[Precision, ...]
    scheme: str
    gaps: tuple[Gap, ...]

    @property
    def possible(self) -> bool:
        return not any(gap.severity == "error" for gap in self.gaps)


@dataclass(frozen=True)
class ConvertPlan:
    """A whole convert to be; `notes` are the lines a user should read."""

    model: Path
    digest: str
    output: Path
    samples: str
    targets: tuple[TargetPlan, ...]
    notes: tuple[str, ...]

    @property
    def possible(self) -> bool:
        return all(target.possible for target in self.targets)


def resolve_all(recipe: Recipe) -> tuple[ResolvedTarget, ...]:
    """Every target of a recipe; UsageError for none and for one device asked for twice."""
    if not recipe.targets:
        raise UsageError("no target is given", fix="add --target jetson-orin; edgekit devices lists them all")
    found = tuple(resolve_target(text) for text in recipe.targets)
    seen: dict[str, str] = {}
    for item in found:
        other = seen.setdefault(item.device.name, item.requested)
        if other is not item.requested:
            raise UsageError(
                f"'{other}' and '{item.requested}' are both the device '{item.device.name}'",
                fix="keep one of them: a bundle lies in the folder of its device",
            )
    return found


def choose_precisions(recipe: Recipe, plan: Plan) -> tuple[tuple[Precision, ...], str]:
    """The variants of one bundle, what was asked for first, and the line that explains a preset ("" if none).

    Nothing asked for means INT8 with samples and the target's default float without. INT8 brings the
    target's baselines. UsageError for INT8 without samples.
    """
    asked: tuple[Precision, ...] = recipe.precisions or ("int8",)
    note = ""
    if not recipe.precisions and recipe.samples is None:
        asked = (plan.default_float,)
        note = f"{plan.default_float.upper()}: no samples were given; --samples DATA makes it INT8"
    if "int8" in asked and recipe.samples is None:
        raise UsageError(
            "INT8 needs samples to calibrate with",
            fix="add --samples DATA (a folder of images or .npz files), or --samples random to try it out",
        )
    if "int8" not in asked and recipe.rounding != "nearest":
        raise UsageError(
            f"--rounding {recipe.rounding} is about the weights of INT8, and there is none",
            fix="add --samples DATA and --precision int8, or leave it out; w8 and w4 take --weights",
        )
    baselines = plan.baselines if "int8" in asked else ()
    wanted: list[Precision] = [*asked, *baselines]
    return tuple(dict.fromkeys(wanted)), note


def choose_scheme(recipe: Recipe, plan: Plan) -> str:
    """The name of the INT8 scheme: the target's own for auto and native, else the portable one."""
    return "portable" if recipe.scheme == "portable" else plan.scheme.name


def job_for(item: ResolvedTarget, recipe: Recipe) -> Job:
    """The INT8 job of one target: of the options `TARGET.NAME` its own, and those that name no target."""
    mine = {}
    for name, value in recipe.options.items():
        owner, dot, option = name.partition(".")
        if not dot or owner == item.target.name:
            mine[option if dot else name] = value
    return Job(item.device, "int8", shapes=recipe.shapes, options=mine)


@dataclass(frozen=True)
class Prepared:
    """The model as every target starts from it, and what each target said it needs, by device name."""

    component: Component
    plans: Mapping[str, Plan]


def prepare_source(source: Component, targets: Sequence[ResolvedTarget], recipe: Recipe) -> Prepared:
    """The standard passes, then the union of what some target lacks expanded, so that all have its ranges."""
    from edgekit.passes.expand_functions import expand_functions
    from edgekit.passes.lower_opset import list_newer_functions
    from edgekit.passes.prepare_component import prepare_component

    component = prepare_component(source, shapes=recipe.shapes)
    plans = {item.device.name: item.target.plan([component], job_for(item, recipe)) for item in targets}
    for item in targets:
        refuse_contradictions(item, recipe, plans[item.device.name])
    lacking = [plan.expand for plan in plans.values()]
    lacking += [
        list_newer_functions(component.model, plan.max_opset)
        for plan in plans.values()
        if plan.max_opset is not None
    ]
    expand_functions(component.model, frozenset[str]().union(*lacking))
    return Prepared(component, plans)


def refuse_contradictions(item: ResolvedTarget, recipe: Recipe, plan: Plan) -> None:
    """UsageError for options of INT8 where none is made, and for a scheme that options contradict."""
    makes_int8 = "int8" in (recipe.precisions or (() if recipe.samples is None else ("int8",)))
    idle = sorted(plan.int8_options & job_for(item, recipe).options.keys())
    if idle and not makes_int8:
        option, made = f"{item.target.name}.{idle[0]}", ", ".join(recipe.precisions or (plan.default_float,))
        raise UsageError(
            f"{option} is about the INT8 variant of {item.device.name}, and only {made} is made",
            fix=f"add --precision int8 with --samples DATA, or leave out {option}",
        )
    if makes_int8 and recipe.scheme == "portable" and plan.no_portable:
        raise UsageError(
            f"{item.device.name}: {plan.no_portable}, and scheme 'portable' has none",
            fix="leave out --scheme portable or that option",
        )


def check_recipe(recipe: Recipe) -> tuple[Gap, ...]:
    """The gaps of every target; the INT8 form is checked unless the recipe asks for other precisions."""
    targets = resolve_all(recipe)
    components = load_source(recipe)
    precisions: tuple[Precision, ...] = recipe.precisions or ("int8",)
    own = scope_recipe(replace(recipe, samples=None, precisions=precisions), components)
    prepared = [(prepare_source(one, targets, own[one.name]), own[one.name]) for one in components]
    found = [
        gap
        for item in targets
        for component, words in prepared
        for gap in find_gaps(item, component, recipe=words, precisions=precisions)
    ]
    return tuple(dict.fromkeys(found))


def plan_convert(recipe: Recipe) -> ConvertPlan:
    """Everything that can be known before work: writes nothing. Raises what the model or a name deserves."""
    resolved = resolve_all(recipe)
    components = load_source(recipe)
    own = scope_recipe(recipe, components)
    prepared = {one.name: prepare_source(one, resolved, own[one.name]) for one in components}
    samples = dict.fromkeys(_samples_words(own[name], one.component) for name, one in prepared.items())
    targets, notes = [], [item.note for item in resolved if item.note]
    for item in resolved:
        plan = prepared[components[0].name].plans[item.device.name]
        precisions, note = choose_precisions(recipe, plan)
        notes += [f"{item.device.name}: {note}"] if note else []
        found = [
            gap
            for name, one in prepared.items()
            for gap in find_gaps(item, one, recipe=own[name], precisions=precisions)
        ]
        gaps = tuple(dict.fromkeys(found))
        scheme = choose_scheme(recipe, plan) if "int8" in precisions else "-"
        targets.append(
            TargetPlan(item.requested, item.note, item.target.name, item.device, precisions, scheme, gaps)
        )
    return ConvertPlan(
        recipe.model,
        source_digest(components),
        recipe.output_folder,
        "; ".join(samples),
        tuple(targets),
        tuple(dict.fromkeys(notes)),
    )


def find_gaps(
    item: ResolvedTarget, prepared: Prepared, *, recipe: Recipe, precisions: Sequence[Precision]
) -> tuple[Gap, ...]:
    """The gaps of every variant on the float model, each told once, in the opset that the target reads."""
    from edgekit.passes.lower_opset import lower_component

    try:
        component = lower_component(prepared.component, prepared.plans[item.device.name].max_opset)
    except ModelError as error:
        name = prepared.component.name
        return (Gap(item.target.name, name, "", "model", error.problem, error.fix),)
    job = job_for(item, recipe)
    found = weight_gaps(item, prepared.plans[item.device.name], precisions)
    found += [
        gap
        for precision in precisions
        for gap in item.target.check([component], replace(job, precision=precision))
    ]
    return tuple(dict.fromkeys(found))


def weight_gaps(item: ResolvedTarget, plan: Plan, precisions: Iterable[Precision]) -> list[Gap]:
    """One for each of w8 and w4 that is asked of a target without such weights."""
    rule = "{} holds no int{} weights beside float data"
    return [
        Gap(
            item.target.name,
            "",
            "",
            precision,
            rule.format(item.device.title, WEIGHT_BITS[precision]),
            plan.no_weights,
        )
        for precision in precisions
        if precision in WEIGHT_BITS and WEIGHT_BITS[precision] not in {form.bits for form in plan.weights}
    ]


def refuse_errors(item: ResolvedTarget, gaps: Sequence[Gap]) -> None:
    """GapError where one of the gaps stops the build."""
    errors = [gap for gap in gaps if gap.severity == "error"]
    if errors:
        raise GapError(
            f"{item.device.name}: {len(errors)} node(s) have no form there, the first is {errors[0]}",
            fix="`edgekit check` lists them all, each with its way out",
            gaps=errors,
        )


def load_source(recipe: Recipe) -> tuple[Component, ...]:
    """The components of a recipe's model."""
    from edgekit.sources.components import load_components

    return load_components(recipe.model, recipe.bind, recipe.cache, trusted=recipe.trusted)


def source_digest(components: Sequence[Component]) -> str:
    """Sha256 (hex) of a source: its only component's, or one over the digests of all."""
    if len(components) == 1:
        return components[0].digest
    text = "\n".join(f"{component.name} {component.digest}" for component in components)
    return hashlib.sha256(text.encode()).hexdigest()


def _samples_words(recipe: Recipe, component: Component) -> str:
    """What the samples are, the first one read; whatever is missing or does not fit raises SamplesError."""
    if recipe.samples is None:
        return "none"
    from edgekit._calibrate import open_samples

    samples = open_samples(recipe, component)
    next(iter(samples))
    return samples.description

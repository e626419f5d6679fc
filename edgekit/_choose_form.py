"""Chooses between the INT8 forms of a model by what the golden samples show."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgekit._qdq import QdqForm, find_front_end
from edgekit._schemes import PORTABLE, SCHEMES
from edgekit._verify import worst_sqnr_db

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgekit._qdq import QdqResult
    from edgekit._schemes import ConvOutput, Scheme
    from edgekit._verify import RememberedSession
    from edgekit._workshop import Workshop
    from edgekit.target import Plan

# The native scheme has the better kernels (a Relu costs nothing there), so a tie goes to it.
_NEARER_DB = 1.0
# What is left in float between a convolution and its activation may cost speed: a small gain is not worth it.
_NEARER_FLOAT_DB = 3.0
_NEAR_DB = 30.0  # nearer than that to fp32, nothing is left to choose by


@dataclass(frozen=True)
class ChosenForm:
    """The Q/DQ graph of the form that was taken, and its session in plain float.

    note: the line that says why it is not the form that the target asked for; "" where it is.
    """

    result: QdqResult
    reference: RememberedSession
    note: str


@dataclass(frozen=True)
class Choice:
    """A change of the form that samples may speak for; words: for the case that they do, and for the first.

    nearer_db: how much nearer to fp32 it must be.
    """

    change: Callable[[QdqForm], QdqForm]
    words: tuple[str, str]
    nearer_db: float = _NEARER_DB


def choose_form(workshop: Workshop, plan: Plan, scheme: str) -> ChosenForm:
    """The plan's form in `scheme`, with each change that brings it much nearer to fp32 on the samples."""
    form = plan_form(plan, SCHEMES[scheme])
    choices = list_choices(workshop, plan, scheme)
    if not choices:
        return ChosenForm(workshop.quantize(form), workshop.reference(form), "")
    best, notes = _try_form(workshop, form), list[str]()
    for choice in choices:
        other = _choose(workshop, best, choice)
        if other is not best:
            taken, instead = choice.words
            notes.append(f"{taken}: {other.sqnr_db:.1f} dB against fp32, {instead} {best.sqnr_db:.1f} dB")
        best = other
    return ChosenForm(best.result, best.session, "; ".join(notes))


def list_choices(workshop: Workshop, plan: Plan, scheme: str) -> list[Choice]:
    """What real samples decide for a target whose scheme is `scheme`, in this order."""
    found = list[Choice]()
    if _may_free_front_end(workshop, plan):
        # First: a few float layers are cheaper than 16 bits everywhere.
        words = ("what only logarithms read stays float", f"in {SCHEMES[scheme].activation}")
        found.append(Choice(_free_front_end, words, _NEARER_FLOAT_DB))
    second = plan.second_scheme
    if scheme != PORTABLE.name:
        # Neither scheme wins on every model: one more bit for one-sided tensors against rounding that is
        # symmetric around what the background of an image becomes.
        if workshop.recipe.scheme == "auto" and scheme != second.name:
            words = (f"INT8 scheme {second.name} was taken", scheme)
            found.append(Choice(lambda form: replace(form, scheme=second), words))
    elif plan.second_conv_output is not None:
        if _has_convolutions(workshop):
            found.append(_convolutions(plan.second_conv_output))
    elif plan.gemm_output == "int8" and _has_any(workshop, "Gemm", "MatMul"):
        # Layers that read raw values (an embedding, a head) may lose more than integer kernels are worth.
        words = ("results of matrix products stay float", "in int8")
        found.append(Choice(lambda form: replace(form, gemm_output="float"), words))
    return found


def _convolutions(output: ConvOutput) -> Choice:
    words = ("results of convolutions stay float up to their activation", "in int8")
    return Choice(lambda form: replace(form, conv_output=output), words, _NEARER_FLOAT_DB)


def _may_free_front_end(workshop: Workshop, plan: Plan) -> bool:
    return plan.float_front_end and bool(find_front_end(workshop.component.model))


def _free_front_end(form: QdqForm) -> QdqForm:
    return replace(form, front_end="float")


def plan_form(plan: Plan, scheme: Scheme) -> QdqForm:
    """The form of the INT8 graph that a plan asks for."""
    return QdqForm(scheme, plan.bias, plan.conv_output, plan.gemm_output, compute=plan.compute)


def list_forms(workshop: Workshop, plan: Plan, scheme: str) -> list[QdqForm]:
    """What a search tries whole, in this order: the form in `scheme`, then the plan's second ones.

    A second scheme is tried where the recipe leaves the choice, but not one of 16 bits that the search comes
    to node by node.
    """
    first, second = plan_form(plan, SCHEMES[scheme]), plan.second_scheme
    forms = [first]
    is_open = workshop.recipe.scheme == "auto" and scheme not in (PORTABLE.name, second.name)
    if is_open and (plan.wide is None or plan.wide.name != second.name):
        forms.append(replace(first, scheme=second))
    if plan.second_conv_output is not None and _has_convolutions(workshop):
        forms.append(replace(first, conv_output=plan.second_conv_output))
    if _may_free_front_end(workshop, plan):
        forms += [_free_front_end(form) for form in forms]
    return forms


def _has_convolutions(workshop: Workshop) -> bool:
    return _has_any(workshop, "Conv", "ConvTranspose")


def _has_any(workshop: Workshop, *ops: str) -> bool:
    return any(node.op_type in ops for node in workshop.component.model.graph)


def _choose(workshop: Workshop, first: _Tried, choice: Choice) -> _Tried:
    """`first`, or its other form where it matters.

    A graph in the other's scheme that rounds no more often, made for another target, speaks for it: where
    even that is not nearer, none is made.
    """
    if first.sqnr_db >= _NEAR_DB:
        return first
    other, least = choice.change(first.form), first.sqnr_db + choice.nearer_db
    kin = [
        _measure(workshop, workshop.reference(form))
        for form in workshop.forms
        if _rounds_no_more(form, other)
    ]
    if min(kin, default=math.inf) < least:
        return first
    tried = _try_form(workshop, other)
    return first if tried.sqnr_db < least else tried


def _rounds_no_more(form: QdqForm, than: QdqForm) -> bool:
    """The form of the bias is no rounding: both forms hold what int32 holds."""
    pairs = (
        (form.conv_output, than.conv_output),
        (form.gemm_output, than.gemm_output),
        (form.front_end, than.front_end),
    )
    same = form.scheme == than.scheme and form.compute == than.compute
    return same and all(own in ("float", other) for own, other in pairs)


@dataclass(frozen=True)
class _Tried:
    form: QdqForm
    result: QdqResult
    session: RememberedSession
    sqnr_db: float


def _try_form(workshop: Workshop, form: QdqForm) -> _Tried:
    session = workshop.reference(form)
    return _Tried(form, workshop.quantize(form), session, _measure(workshop, session))


def _measure(workshop: Workshop, reference: RememberedSession) -> float:
    """SQNR in dB of the worst float output over the golden samples; inf where none can be judged."""
    golden = workshop.make_golden("samples", reference)
    return worst_sqnr_db(
        (sample.fp32, sample.reference) for sample in golden.samples if sample.reference is not None
    )

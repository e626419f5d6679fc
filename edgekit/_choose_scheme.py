"""Chooses between two INT8 forms of a model by what the golden samples show."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgekit._qdq import QdqForm
from edgekit._schemes import PORTABLE, SCHEMES
from edgekit._verify import worst_sqnr_db

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgekit._qdq import QdqResult
    from edgekit._schemes import Scheme
    from edgekit._verify import RememberedSession
    from edgekit._workshop import Workshop
    from edgekit.target import Plan

# The native scheme has the better kernels (a Relu costs nothing there), so a tie goes to it.
_NEARER_DB = 1.0
# What is left in float between a convolution and its activation may cost speed: a small gain is not worth it.
_NEARER_FLOAT_DB = 3.0
_NEAR_DB = 30.0  # nearer than that to fp32, nothing is left to choose by


@dataclass(frozen=True)
class ChosenScheme:
    """The Q/DQ graph of the form that was taken, and its session in plain float.

    note: the line that says why it is not the form that the target asked for; "" where it is.
    """

    result: QdqResult
    reference: RememberedSession
    note: str


def find_choice(
    workshop: Workshop, plan: Plan, scheme: str
) -> Callable[[Workshop, Plan], ChosenScheme] | None:
    """What real samples decide for a target whose scheme is `scheme`, if anything."""
    if scheme != PORTABLE.name:
        is_open = workshop.recipe.scheme == "auto" and scheme != plan.second_scheme.name
        return choose_measured if is_open else None
    if plan.second_conv_output is not None:
        return choose_convolutions if _has_convolutions(workshop) else None
    products = any(node.op_type in ("Gemm", "MatMul") for node in workshop.component.model.graph)
    return choose_products if products and plan.gemm_output == "int8" else None


def choose_measured(workshop: Workshop, plan: Plan) -> ChosenScheme:
    """The native scheme, unless that is far from fp32 on the golden samples and the plan's second one nearer.

    Neither wins on every model: one more bit for one-sided tensors against rounding that is symmetric
    around what the background of an image becomes.
    """
    first = plan_form(plan, plan.scheme)
    second = plan.second_scheme
    named = (f"INT8 scheme {second.name} was taken", plan.scheme.name)
    return _choose(workshop, first, replace(first, scheme=second), named)


def choose_products(workshop: Workshop, plan: Plan) -> ChosenScheme:
    """Results of matrix products in int8, unless that is far from fp32 and leaving them float is nearer.

    Layers that read raw values (an embedding, a head) may lose more there than integer kernels are worth.
    """
    first = plan_form(plan, PORTABLE)
    named = ("results of matrix products stay float", "in int8")
    return _choose(workshop, first, replace(first, gemm_output="float"), named)


def choose_convolutions(workshop: Workshop, plan: Plan) -> ChosenScheme:
    """Results of convolutions as the plan has them, or in its second form where that is much nearer."""
    first = plan_form(plan, PORTABLE)
    named = ("results of convolutions stay float up to their activation", "in int8")
    other = replace(first, conv_output=plan.second_conv_output or first.conv_output)
    return _choose(workshop, first, other, named, _NEARER_FLOAT_DB)


def plan_form(plan: Plan, scheme: Scheme) -> QdqForm:
    """The form of the INT8 graph that a plan asks for."""
    return QdqForm(scheme, plan.bias, plan.conv_output, plan.gemm_output)


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
    return forms


def _has_convolutions(workshop: Workshop) -> bool:
    return any(node.op_type in ("Conv", "ConvTranspose") for node in workshop.component.model.graph)


def _choose(
    workshop: Workshop, first: QdqForm, other: QdqForm, named: tuple[str, str], nearer_db: float = _NEARER_DB
) -> ChosenScheme:
    """`first`, or `other` where it matters; `named`: the words for the other's case, and for the first.

    A graph in the other's scheme that rounds no more often, made for another target, speaks for it: where
    even that is not nearer, none is made.
    """
    own = _try_form(workshop, first)
    if own.sqnr_db >= _NEAR_DB:
        return ChosenScheme(own.result, own.session, "")
    kin = [
        _measure(workshop, workshop.reference(form))
        for form in workshop.forms
        if _rounds_no_more(form, other)
    ]
    if min(kin, default=math.inf) < own.sqnr_db + nearer_db:
        return ChosenScheme(own.result, own.session, "")
    tried = _try_form(workshop, other)
    if tried.sqnr_db < own.sqnr_db + nearer_db:
        return ChosenScheme(own.result, own.session, "")
    told = f"{named[0]}: {tried.sqnr_db:.1f} dB against fp32, {named[1]} {own.sqnr_db:.1f} dB"
    return ChosenScheme(tried.result, tried.session, told)


def _rounds_no_more(form: QdqForm, than: QdqForm) -> bool:
    """The form of the bias is no rounding: both forms hold what int32 holds."""
    pairs = ((form.conv_output, than.conv_output), (form.gemm_output, than.gemm_output))
    return form.scheme == than.scheme and all(own in ("float", other) for own, other in pairs)


@dataclass(frozen=True)
class _Tried:
    result: QdqResult
    session: RememberedSession
    sqnr_db: float


def _try_form(workshop: Workshop, form: QdqForm) -> _Tried:
    session = workshop.reference(form)
    return _Tried(workshop.quantize(form), session, _measure(workshop, session))


def _measure(workshop: Workshop, reference: RememberedSession) -> float:
    """SQNR in dB of the worst float output over the golden samples; inf where none can be judged."""
    golden = workshop.make_golden("samples", reference)
    return worst_sqnr_db(
        (sample.fp32, sample.reference) for sample in golden.samples if sample.reference is not None
    )

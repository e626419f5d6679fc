"""Which form an INT8 graph has follows what the golden samples show."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgekit import _choose_form
from edgekit._qdq import QdqForm
from edgekit._recipe import Recipe
from edgekit._schemes import INT16X8, NATIVE_U8, NATIVE_U16_S8, PORTABLE
from edgekit._values import Component
from edgekit._verify import Golden, GoldenSample
from edgekit.target import Plan
from tests.models import toy_cnn
from tests.qdq.qdq_nets import as_component
from tests.qdq.test_front_end import listener

NOISE = np.random.default_rng(3).standard_normal((1, 10)).astype(np.float32)
CLEAN = np.ones((1, 10), np.float32)


class Shop:
    """A workshop whose Q/DQ graphs miss fp32 by the noise that the test gives each scheme."""

    def __init__(self, noise: dict[str, float]) -> None:
        self.noise = noise
        self.quantized: list[str] = []
        self.forms: tuple[QdqForm, ...] = ()
        self.component = Component("model", ir.from_proto(toy_cnn()), "d" * 64)
        self.recipe = Recipe.of("m.onnx")

    def quantize(self, form: Any) -> Any:
        self.quantized.append(form.scheme.name)
        model = ir.from_proto(toy_cnn())
        return type("Result", (), {"component": Component(form.scheme.name, model, "d" * 64)})

    def reference(self, form: Any) -> Any:
        return form.scheme.name if form in self.forms else self.name(self.quantize(form))

    def name(self, result: Any) -> str:
        return str(result.component.name)

    def make_golden(self, kind: str, reference: Any) -> Golden:
        found = CLEAN + np.float32(self.noise[reference]) * NOISE
        return Golden("model", "samples", (GoldenSample({}, {"y": CLEAN}, {"y": found}),))


@pytest.mark.parametrize(
    ("native", "portable", "taken"),
    [
        (0.1, 0.01, "portable"),  # 20 dB nearer
        (0.1, 0.098, "native-u8"),  # a tie
        (0.01, 0.1, "native-u8"),
        (0.001, 0.00001, "native-u8"),  # near enough not to ask
    ],
)
def test_the_nearer_scheme_is_taken_where_it_matters(native: float, portable: float, taken: str) -> None:
    shop: Any = Shop({"native-u8": native, "portable": portable})
    plan = Plan(17, scheme=NATIVE_U8, bias="int32")
    chosen = _choose_form.choose_form(shop, plan, plan.scheme.name)
    assert chosen.result.component.name == taken
    assert bool(chosen.note) == (taken == "portable")


def test_a_near_native_scheme_costs_no_second_graph() -> None:
    shop: Any = Shop({"native-u8": 0.001})
    _choose_form.choose_form(shop, Plan(17, scheme=NATIVE_U8), "native-u8")
    assert set(shop.quantized) == {"native-u8"}


@pytest.mark.parametrize(("portable", "made"), [(0.1, ["native-u8"]), (0.01, ["native-u8", "portable"])])
def test_another_targets_portable_graph_that_rounds_less_speaks_for_the_scheme(
    portable: float, made: list[str]
) -> None:
    shop: Any = Shop({"native-u8": 0.1, "portable": portable})
    shop.forms = (QdqForm(PORTABLE, "float", conv_output="float"),)
    chosen = _choose_form.choose_form(shop, Plan(17, scheme=NATIVE_U8, bias="int32"), "native-u8")
    assert list(dict.fromkeys(shop.quantized)) == made
    assert chosen.result.component.name == made[-1]


def test_outputs_that_are_all_empty_leave_the_native_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = np.zeros((1, 0), np.float32)
    golden = Golden("model", "samples", (GoldenSample({}, {"y": empty}, {"y": empty}),))
    shop: Any = Shop({"native-u8": 0.0})
    monkeypatch.setattr(shop, "make_golden", lambda *_: golden)
    chosen = _choose_form.choose_form(shop, Plan(17, scheme=NATIVE_U8), "native-u8")
    assert chosen.result.component.name == "native-u8"


class Products(Shop):
    """A workshop whose graphs miss fp32 by the noise given to each form of a product's result."""

    def quantize(self, form: Any) -> Any:
        made = super().quantize(form)
        self.quantized[-1] = form.gemm_output
        return made

    def name(self, result: Any) -> str:
        return self.quantized[-1]


@pytest.mark.parametrize(
    ("int8", "kept", "tried"),
    [
        (0.1, 0.05, ["int8", "float"]),  # 6 dB nearer
        (0.1, 0.098, ["int8", "float"]),  # a tie
        (0.01, 0.001, ["int8"]),  # near enough not to ask
    ],
)
def test_results_of_products_stay_float_where_int8_costs_much(
    int8: float, kept: float, tried: list[str]
) -> None:
    shop: Any = Products({"int8": int8, "float": kept})
    chosen = _choose_form.choose_form(shop, Plan(None, bias="int32", gemm_output="int8"), "portable")
    assert list(dict.fromkeys(shop.quantized)) == tried
    taken = kept <= int8 / 2 and len(tried) == 2
    assert chosen.note.startswith("results of matrix products stay float: ") == taken
    assert chosen.note.endswith(" dB") == taken


class Convolutions(Shop):
    """A workshop whose graphs miss fp32 by the noise given to each form of a convolution's result."""

    def quantize(self, form: Any) -> Any:
        made = super().quantize(form)
        self.quantized[-1] = form.conv_output
        return made

    def name(self, result: Any) -> str:
        return self.quantized[-1]


@pytest.mark.parametrize(
    ("int8", "kept", "is_float"),
    [
        (0.1, 0.05, True),  # 6 dB nearer
        (0.1, 0.08, False),  # 2 dB: not worth the float tensors
        (0.01, 0.001, False),  # near enough not to ask
    ],
)
def test_results_of_convolutions_stay_float_where_int8_costs_much(
    int8: float, kept: float, is_float: bool
) -> None:
    shop: Any = Convolutions({"int8": int8, "float": kept})
    plan = Plan(None, conv_output="int8", second_conv_output="float")
    note = _choose_form.choose_form(shop, plan, "portable").note
    assert note.startswith("results of convolutions stay float up to their activation: ") == is_float
    assert note.endswith(" dB") == is_float


def test_a_model_without_convolutions_has_nothing_to_choose_there() -> None:
    shop: Any = Convolutions({"int8": 0.1, "float": 0.01})
    plan = Plan(None, conv_output="int8", second_conv_output="float")
    tried = [form.conv_output for form in _choose_form.list_forms(shop, plan, "portable")]
    assert tried == ["int8", "float"]
    for node in shop.component.model.graph:
        node.op_type = "Relu" if node.op_type == "Conv" else node.op_type
    assert _choose_form.list_choices(shop, plan, "portable") == []
    assert len(_choose_form.list_forms(shop, plan, "portable")) == 1


@pytest.mark.parametrize(
    ("asked", "plan", "tried"),
    [
        ("auto", Plan(None, scheme=NATIVE_U8), ["native-u8", "portable"]),
        ("native", Plan(None, scheme=NATIVE_U8), ["native-u8"]),
        ("auto", Plan(None), ["portable"]),
        # 16 bits come node by node
        ("auto", Plan(None, scheme=NATIVE_U8, second_scheme=INT16X8, wide=INT16X8), ["native-u8"]),
    ],
)
def test_a_search_tries_the_plans_schemes_in_turn(asked: str, plan: Plan, tried: list[str]) -> None:
    shop: Any = Shop({})
    shop.recipe = Recipe.of("m.onnx", scheme=asked)
    forms = _choose_form.list_forms(shop, plan, plan.scheme.name)
    assert [form.scheme.name for form in forms] == tried


class Listener(Shop):
    """A workshop whose graphs miss fp32 by the noise of each scheme and form of the front end."""

    def __init__(self, noise: dict[str, float]) -> None:
        super().__init__(noise)
        self.component = as_component(listener())

    def quantize(self, form: Any) -> Any:
        made = super().quantize(form)
        self.quantized[-1] = f"{form.scheme.name} {form.front_end}"
        return made

    def name(self, result: Any) -> str:
        return self.quantized[-1]


@pytest.mark.parametrize(
    ("free", "wide", "tried", "words"),
    [
        (0.01, 0.001, ["native-u8 int8", "native-u8 float"], "what only logarithms read stays float"),
        (
            0.05,
            0.001,
            ["native-u8 int8", "native-u8 float", "native-u16-s8 float"],
            "native-u16-s8 was taken",
        ),
        (
            0.099,
            0.001,
            ["native-u8 int8", "native-u8 float", "native-u16-s8 int8"],
            "native-u16-s8 was taken",
        ),
    ],
)
def test_a_few_float_layers_are_tried_before_16_bits_everywhere(
    free: float, wide: float, tried: list[str], words: str
) -> None:
    noise = {"native-u8 int8": 0.1, "native-u8 float": free}
    shop: Any = Listener({**noise, "native-u16-s8 float": wide, "native-u16-s8 int8": wide})
    plan = Plan(17, scheme=NATIVE_U8, second_scheme=NATIVE_U16_S8)
    chosen = _choose_form.choose_form(shop, plan, "native-u8")
    assert list(dict.fromkeys(shop.quantized)) == tried
    assert words in chosen.note


def test_a_target_that_may_have_no_float_layer_tries_none() -> None:
    shop: Any = Listener({"native-u8 int8": 0.1})
    plan = Plan(17, scheme=NATIVE_U8, second_scheme=NATIVE_U8, float_front_end=False)
    assert _choose_form.choose_form(shop, plan, "native-u8").note == ""
    assert set(shop.quantized) == {"native-u8 int8"}
    assert [form.front_end for form in _choose_form.list_forms(shop, plan, "native-u8")] == ["int8"]

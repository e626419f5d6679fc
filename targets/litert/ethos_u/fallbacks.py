"""What Vela leaves to the CPU: by its list before it compiles, by its placement afterwards; how to go on."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from edgekit._qdq.find_tail import find_tail
from edgekit._values import Gap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from edgekit._values import Component
    from edgekit.targets.litert.ethos_u.run_vela import Place
    from edgekit.targets.litert.lower import Lowered

# They stand beside what computes in float, and at inputs and outputs: never the cause.
_CONVERTERS = frozenset({"Quantize", "Dequantize"})
_AS_A_FILE = frozenset({"QUANTIZE", "DEQUANTIZE"})
_FLOAT = "Float32"
_TO_INTEGERS = (
    "the INT8 graph has it in float (a hard swish, a gate, what --float names): end the model before it, "
    "build it of operators that stay in int8, or let it run on the CPU"
)
_OTHER_OP = "express it by operators of `vela --supported-ops-report`, or end the model before it"


def list_unknown(component: Component, lowered: Lowered) -> list[Gap]:
    """Operators that Vela has on no NPU, the last Softmax apart; a warning where Vela is not here to tell."""
    if not find_spec("ethosu"):
        rule = "Vela is not installed: which operators it leaves to the CPU is not known"
        way_out = 'pip install "ethos-u-vela>=5.2"'
        return [Gap("ethos-u", component.name, "", "file", rule, way_out, severity="warning")]
    known, kept = _known_codes() | _AS_A_FILE, end_in_float(component)
    names = {tensor: name for name, tensor in lowered.tensors.items()}
    made = [(operator.code, names.get(operator.outputs[0], "")) for operator in lowered.graph.operators]
    return [
        Gap("ethos-u", component.name, name, code, "Vela has it on no NPU", _OTHER_OP)
        for code, name in made
        if code not in known and name not in kept
    ]


def end_in_float(component: Component) -> frozenset[str]:
    """Tensors of the last Softmax or Sigmoid, which the INT8 graph leaves in float32."""
    return frozenset(str(node.outputs[0].name) for node in find_tail(component.model))


def list_left(places: Iterable[Place], component: str, kept: frozenset[str]) -> Iterator[Gap]:
    """Each operator on the CPU that should be on the NPU, as a Gap; `kept`: tensors of what may be there."""
    for place in places:
        if place.unit != "NPU" and place.operator not in _CONVERTERS and not is_kept(place, kept):
            reason = place.reason or "Vela gives no reason"
            way_out = _TO_INTEGERS if _FLOAT in reason else _OTHER_OP
            rule = f"runs on the CPU: {reason}"
            yield Gap("ethos-u", component, place.tensor, place.operator, rule, way_out)


def is_kept(place: Place, kept: frozenset[str]) -> bool:
    """Whether it is of the last Softmax; the file may add a layout to a tensor's name."""
    return bool({place.tensor, place.tensor.rpartition(":")[0]} & kept)


def _known_codes() -> frozenset[str]:
    """Names of TFLite operators that Vela puts on an NPU, where their tensors are as it wants them."""
    codes, forms, kinds = (
        import_module(f"ethosu.vela.{name}")
        for name in ("tflite.BuiltinOperator", "tflite_mapping", "tflite_supported_operators")
    )
    names = {code: name for name, code in vars(codes.BuiltinOperator).items() if isinstance(code, int)}
    supported = kinds.TFLiteSupportedOperators.supported_operators
    return frozenset(names[code] for code, row in forms.builtin_operator_map.items() if row[0] in supported)

"""Chooses how each int8 layer rounds its weights by its outputs, and keeps it where unseen samples agree."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np

from edgekit._qdq.adaround import measure_energy, measure_error, round_rows
from edgekit._qdq.layer_windows import Layer, describe_layer
from edgekit._qdq.observe_layers import count_bytes, observe_layers, split_samples
from edgekit._qdq.round_weights import Grouping, code_range, ratio_db
from edgekit.calibration.scales import LEVELS
from edgekit.errors import UsageError
from edgekit.passes._rewire import constant_array, input_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgekit._qdq.observe_layers import Moments
    from edgekit._qdq.steering import Decision
    from edgekit._qdq.weights import QuantizedWeight
    from edgekit.calibration.samples import Samples

    Floats = NDArray[np.float32]

LEAST_SAMPLES = 8
_LARGEST_BYTES = 1_000_000_000  # of one layer's moments: 11,000 columns


@dataclass(frozen=True)
class RoundedLayer:
    """What was chosen for one layer, in words too.

    codes: signed, of the weight's shape; None: to the nearest. scales: those that the codes were chosen for.
    nearest_db, chosen_db: SQNR of what integer weights make of unseen samples' data, rounded to the nearest
    and as chosen.
    """

    words: str
    codes: NDArray[np.int8] | None = None
    scales: Floats | None = None
    nearest_db: float = math.nan
    chosen_db: float = math.nan

    @property
    def told(self) -> str:
        """The end of a decision's reason."""
        return self.words if self.codes is not None else f"weights rounded to the nearest: {self.words}"

    def put_into(self, weight: QuantizedWeight) -> QuantizedWeight:
        """The weight with the chosen codes, in the channels that have the very scale they were chosen for."""
        if self.codes is None or self.scales is None or weight.axis is None:
            return weight
        others = tuple(index for index in range(self.codes.ndim) if index != weight.axis)
        same = np.expand_dims(weight.scales == self.scales, others)
        middle = 128 if weight.integers.dtype == np.uint8 else 0
        chosen = (self.codes.astype(np.int16) + middle).astype(weight.integers.dtype)
        return replace(weight, integers=np.where(same, chosen, weight.integers))


@dataclass(frozen=True)
class LayerRoundings:
    """The choice for each int8 layer with constant weights, by node, and what it does to the whole model.

    held: the samples that judged, by their place, and fit: those that chose. nearest_db, chosen_db: SQNR of
    the whole INT8 model against fp32 on `held`, rounded to the nearest and as chosen.
    """

    layers: Mapping[str, RoundedLayer]
    held: frozenset[int]
    fit: frozenset[int] = frozenset()
    nearest_db: float = math.nan
    chosen_db: float = math.nan

    @property
    def chosen(self) -> Sequence[RoundedLayer]:
        """The layers that are not rounded to the nearest."""
        return [layer for layer in self.layers.values() if layer.codes is not None]

    def judged(self, nearest_db: float, chosen_db: float) -> LayerRoundings:
        """The same with what the whole model shows; to the nearest everywhere, where that is no farther."""
        made = replace(self, nearest_db=nearest_db, chosen_db=chosen_db)
        if chosen_db > nearest_db:
            return made
        back = RoundedLayer("the whole model is no nearer with AdaRound")
        layers = {name: back if one.codes is not None else one for name, one in self.layers.items()}
        return replace(made, layers=layers)

    @property
    def words(self) -> str:
        """The line of a bundle's notes."""
        kept, left = self.chosen, Counter(one.words for one in self.layers.values() if one.codes is None)
        parts = [f"AdaRound: the weights of {len(kept)} of {len(self.layers)} int8 layers"]
        if kept:
            gain = statistics.median(layer.chosen_db - layer.nearest_db for layer in kept)
            parts[0] += f", {gain:.1f} dB less error in a layer's output in the median"
        parts += [f"{count} to the nearest: {words}" for words, count in left.items()]
        if not math.isnan(self.chosen_db):
            parts.append(
                f"the whole model {self.chosen_db:.1f} dB from fp32, rounded to the nearest "
                f"{self.nearest_db:.1f} dB, on {len(self.held)} samples that it did not see"
            )
        return "; ".join(parts)


@dataclass(frozen=True)
class _Found:
    """An int8 layer with its float weight and what the Q/DQ graph holds of it."""

    layer: Layer
    weight: Floats
    codes: NDArray[np.int8]
    scales: Floats
    most: int


def round_layers(plain: ir.Model, quantized: ir.Model, samples: Samples) -> LayerRoundings:
    """AdaRound for each int8 Conv, Gemm and MatMul of a Q/DQ graph; both models stay unchanged.

    plain: the float model it was made of; nodes are paired by name. A quarter of the samples chooses nothing
    and judges: a layer whose outputs are not nearer on them stays rounded to the nearest. UsageError with
    fewer than eight samples, and with random ones.
    """
    if samples.kind == "random" or len(samples) < LEAST_SAMPLES:
        given = "random ones say nothing" if samples.kind == "random" else f"{len(samples)} are too few"
        raise UsageError(
            f"--rounding adaround chooses by samples and holds some of them out to judge by; {given}",
            fix=f"give at least {LEAST_SAMPLES} real ones with --samples DATA, or leave the option out",
        )
    split = split_samples(samples)
    found = dict(_find_layers(plain, quantized))
    made = {name: RoundedLayer(one) for name, one in found.items() if isinstance(one, str)}
    ready = {name: one for name, one in found.items() if isinstance(one, _Found)}
    for layer, moments in observe_layers(quantized, [one.layer for one in ready.values()], samples, split):
        made[layer.node] = _round(ready[layer.node], moments)
    return LayerRoundings({name: made[name] for name in found}, split.held, split.fit)


def tell_roundings(
    decisions: Iterable[Decision], rounded: Mapping[str, RoundedLayer]
) -> tuple[Decision, ...]:
    """The decisions, with how the weights of integer nodes were rounded where that was chosen."""
    return tuple(
        replace(one, reason=f"{one.reason}; {rounded[one.node].told}")
        if one.node in rounded and one.precision != "float"
        else one
        for one in decisions
    )


def _find_layers(plain: ir.Model, quantized: ir.Model) -> Iterable[tuple[str, _Found | str]]:
    """Nodes with integer weights, each with the reason where its rounding cannot be chosen."""
    weights = {str(node.name): constant_array(input_of(node, 1)) for node in plain.graph}
    for node in quantized.graph:
        restored = input_of(node, 1)
        maker = None if restored is None else restored.producer()
        if restored is None or maker is None or maker.op_type != "DequantizeLinear":
            continue
        codes, weight = constant_array(maker.inputs[0]), weights.get(str(node.name))
        if codes is None or weight is None:
            continue
        yield str(node.name), _find_layer(node, restored, weight, codes)


def _find_layer(
    node: ir.Node, restored: ir.Value, weight: Floats, codes: NDArray[np.generic]
) -> _Found | str:
    layer = describe_layer(node, weight.shape)
    if isinstance(layer, str):
        return layer
    if len(restored.uses()) > 1:
        return "several nodes read its weight"
    if count_bytes(layer) > _LARGEST_BYTES:
        return f"{layer.columns} weights an output are too many"
    maker = restored.producer()
    assert maker is not None
    scales = constant_array(maker.inputs[1])
    assert scales is not None
    middle = 128 if codes.dtype == np.uint8 else 0
    most = code_range(4, Grouping(layer.axis, 0))[1] if codes.dtype == ml_dtypes.int4 else LEVELS
    return _Found(layer, weight, (codes.astype(np.int16) - middle).astype(np.int8), scales, most)


def _round(found: _Found, moments: Moments) -> RoundedLayer:
    layer = found.layer
    rows = np.asarray(layer.rows(found.weight), np.float32)
    nearest = np.asarray(layer.rows(found.codes), np.int8)
    scales = np.broadcast_to(found.scales, rows.shape[0] * rows.shape[1]).reshape(*rows.shape[:2], 1)
    if not (np.isfinite(moments.fit).all() and np.isfinite(moments.held).all()):
        return RoundedLayer("its data are not finite on the samples")
    chosen = round_rows(rows, nearest, scales, moments.fit, found.most)
    signal = measure_energy(rows, moments.held)
    before, after = (measure_error(rows, codes, scales, moments.held) for codes in (nearest, chosen))
    if not after < before:
        return RoundedLayer("AdaRound is no nearer on samples it did not see")
    rates = ratio_db(signal, before), ratio_db(signal, after)
    words = (
        f"weights rounded by AdaRound, {rates[0]:.1f} -> {rates[1]:.1f} dB in its output on unseen samples"
    )
    codes = np.asarray(layer.like(chosen, found.weight.shape), np.int8)
    return RoundedLayer(words, codes, found.scales, *rates)

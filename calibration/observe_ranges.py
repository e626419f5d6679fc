"""Run samples through a component once and record the range of every tensor."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from edgekit.calibration.histogram import Histogram
from edgekit.calibration.instrument_graph import instrument_graph
from edgekit.calibration.observers import (
    Observation,
    observer_parameters,
    reads_histogram,
    settle_range,
)
from edgekit.calibration.open_session import RUN_FAILURES, open_session
from edgekit.calibration.plan_measures import WatchList
from edgekit.calibration.record import CalibrationRecord, ChannelRange
from edgekit.calibration.settings import get_count
from edgekit.errors import SamplesError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnx_ir as ir

    from edgekit._values import Component, Progress
    from edgekit.calibration.samples import Sample, Samples

# A prime far above the strides in use: phase i * _PHASE takes every residue of a smaller prime in turn.
_PHASE = 104729
_BY_CHANNEL = ("channel_low", "channel_high")


def observe_ranges(
    component: Component,
    samples: Samples,
    *,
    observer: str = "minmax",
    watch: WatchList | None = None,
    progress: Progress | None = None,
) -> CalibrationRecord:
    """The range of every float32 activation (or of those on `watch`) of `component.model` over `samples`.

    One sample is in memory at a time; extremes are exact, histograms hold a subsample. The model stays
    unchanged. Values inside subgraphs (If, Loop) are not observed. A NaN or infinite activation, or a
    sample the model cannot run, raises SamplesError naming the tensor and the sample.
    """
    parameters = observer_parameters(observer)
    parts = ("extremes", "sample") if reads_histogram(observer) else ("extremes",)
    watch = watch or WatchList()
    seen = _Watch(component.model, watch, parts, len(samples))
    count = 0
    for sample in samples:
        outputs = seen.see(sample, count)
        if watch.show is not None:
            watch.show(sample.feeds, outputs)
        count += 1
        if progress is not None:
            progress("calibrate", count, len(samples))
    if count == 0:
        raise SamplesError("no samples to calibrate with", fix="give at least one sample")
    return CalibrationRecord(
        component=component.name,
        model_digest=component.digest,
        samples_digest=samples.digest,
        samples_kind=samples.kind,
        sample_count=count,
        observer=observer,
        parameters=parameters,
        ranges={name: settle_range(found, observer) for name, found in seen.observations().items()},
        histograms_digest=seen.digest(),
        channels=seen.channels(),
    )


class _Watch:
    """One session over the instrumented clone, and what each tensor has shown so far."""

    def __init__(self, model: ir.Model, watch: WatchList, parts: tuple[str, ...], count: int) -> None:
        self._model, self._list = model, watch
        self._graph = graph = instrument_graph(model, watch, parts=parts)
        self._sampled = graph.sampled and bool(graph.tensors)
        self._session = open_session(self._graph.model)
        self._take = math.ceil(get_count("observation", "elements") / max(count, 1)) + 1
        self._sizes = [2 * self._take] * len(self._graph.tensors)
        self._seen: dict[int, Observation] = {}
        self._channels: dict[int, tuple[Any, Any]] = {}

    def see(self, sample: Sample, index: int) -> dict[str, Any]:
        """Run one sample and add what it measures; the graph's own outputs, where they are shown.

        More than one pass only where its values fill the budget.
        """
        feeds: dict[str, Any] = dict(sample.feeds)
        if self._sampled:
            feeds[self._graph.prefix + "take"] = np.array(self._take, np.int64)
            feeds[self._graph.prefix + "phase"] = np.array([index * _PHASE], np.int64)
        words = ["low", "high"] + (["size"] if self._sampled else [])
        every = range(len(self._graph.tensors))
        once = self._names(words, every) + self._names(["sum"], self._graph.summed)
        channels = len(once)
        once += self._names(_BY_CHANNEL, self._graph.by_channel)
        measured, outputs = len(once), dict[str, Any]()
        once += self._graph.shown
        for group in self._groups():
            results = self._run(once + self._names(["part"], group), feeds, sample)
            if once:
                self._read_extremes(results[:channels], sample)
                self._read_channels(results[channels:measured])
                outputs = dict(zip(self._graph.shown, results[measured:], strict=False))
            once = []
            self._read_parts(results[len(results) - len(group) :], group)
        return outputs

    def _names(self, words: Sequence[str], tensors: Sequence[int]) -> list[str]:
        return [f"{self._graph.prefix}{word}{index}" for word in words for index in tensors]

    def _run(self, wanted: list[str], feeds: dict[str, Any], sample: Sample) -> list[Any]:
        try:
            return self._session.run(wanted, feeds)
        except RUN_FAILURES as error:
            raise SamplesError(
                f"the model cannot run sample '{sample.name}': {str(error).splitlines()[0]}",
                fix="check the sample's shapes against `edgekit inspect`, or fix dynamic dims with --shape",
            ) from error

    def _groups(self) -> Iterator[list[int]]:
        """Tensors whose parts fit into one pass's budget of bytes; minmax has one group of none."""
        if not self._sampled:
            yield []
            return
        budget, group, held = get_count("observation", "fetch_bytes"), list[int](), 0
        for index, size in enumerate(self._sizes):
            need = 4 * min(size, 2 * self._take)
            if group and held + need > budget:
                yield group
                group, held = [], 0
            group.append(index)
            held += need
        yield group

    def _read_extremes(self, results: list[Any], sample: Sample) -> None:
        count = len(self._graph.tensors)
        lows, highs = (
            np.array([float(value) for value in results[part * count : (part + 1) * count]])
            for part in range(2)
        )
        if self._sampled:
            self._sizes = [int(value) for value in results[2 * count : 3 * count]]
        sums = np.zeros(count)
        summed = list(self._graph.summed)
        sums[summed] = [float(value) for value in results[len(results) - len(summed) :]]
        empty = lows > highs  # ReduceMin and ReduceMax of nothing are inf and -inf
        bad = ~empty & ~(np.isfinite(lows) & np.isfinite(highs) & ~np.isnan(sums))
        if bad.any():
            self._refuse(int(np.argmax(bad)), sample)
        for index in np.flatnonzero(~empty):
            self._widen(int(index), float(lows[index]), float(highs[index]))

    def _read_channels(self, results: list[Any]) -> None:
        indices = self._graph.by_channel
        for place, index in enumerate(indices):
            low, high = results[place], results[len(indices) + place]
            before = self._channels.get(index, (low, high))
            self._channels[index] = (np.minimum(before[0], low), np.maximum(before[1], high))

    def _widen(self, index: int, low: float, high: float) -> None:
        seen = self._seen.get(index)
        if seen is None:
            seen = Observation(low, high, Histogram() if self._sampled else None)
            self._seen[index] = seen
        seen.low, seen.high = min(seen.low, low), max(seen.high, high)
        if seen.histogram is not None:
            seen.histogram.grow(seen.magnitude)

    def _read_parts(self, parts: list[Any], group: list[int]) -> None:
        for index, part in zip(group, parts, strict=True):
            seen = self._seen.get(index)
            if seen is not None and seen.histogram is not None:
                seen.histogram.add(part)

    def _refuse(self, index: int, sample: Sample) -> NoReturn:
        """SamplesError naming the first tensor that is not finite, where a NaN may show in a later one."""
        if len(self._graph.summed) < len(self._graph.tensors):
            _Watch(self._model, self._list, ("extremes", "nans"), 1).see(sample, 0)
        raise SamplesError(
            f"tensor '{self._graph.tensors[index]}' ({self._graph.places[index]}) becomes NaN or infinite "
            f"on sample '{sample.name}'",
            fix="check the sample and its preprocessing, and the model's weights; "
            "a tensor that is infinite by design has no int8 form",
        )

    def observations(self) -> dict[str, Observation]:
        """By tensor name, in the graph's order; tensors that were empty on every sample are absent."""
        return {self._graph.tensors[index]: self._seen[index] for index in sorted(self._seen)}

    def channels(self) -> dict[str, ChannelRange]:
        """By tensor name; tensors that were empty on every sample are absent."""
        return {
            self._graph.tensors[index]: ChannelRange(tuple(low.tolist()), tuple(high.tolist()))
            for index, (low, high) in sorted(self._channels.items())
            if index in self._seen
        }

    def digest(self) -> str | None:
        """sha256 over every histogram's name, range and counts; None without histograms."""
        if not self._sampled:
            return None
        total = hashlib.sha256()
        for name, seen in sorted(self.observations().items()):
            if seen.histogram is not None:
                total.update(f"{name}\0{seen.histogram.exponent}\0".encode())
                total.update(seen.histogram.counts.astype("<i8").tobytes())
        return total.hexdigest()

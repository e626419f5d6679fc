"""Task metrics: what a model is for, scored on labelled samples for fp32 and for an artifact."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, cast

import numpy as np

from edgekit._results import TaskScore
from edgekit._verify.metrics import OutputComparison, edit_distance
from edgekit.errors import EdgekitError, SamplesError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from edgekit._verify.golden import Sample
    from edgekit.target import Session

    Arrays = Mapping[str, np.ndarray]

# PP-OCR recognition models carry their characters under this metadata key, one a line.
CHARACTER_KEY = "character"
_BUILT_IN = ("top1", "cer", "exact", "cosine")


@dataclass(frozen=True)
class Scored:
    """One sample after a run: its name, outputs, label, and (for `cosine`) the fp32 outputs."""

    name: str
    outputs: Arrays
    label: str | None
    fp32: Arrays | None = None


@dataclass(frozen=True)
class Metric:
    """A named score of a stream of `Scored`; `needs` says what each must carry."""

    name: str
    score: Callable[[Iterable[Scored]], float]
    better: Literal["higher", "lower"] = "higher"
    needs: Literal["labels", "fp32", "nothing"] = "labels"


class LabelledSamples(Protocol):
    """Samples that can be read more than once, with one label each or none."""

    @property
    def labels(self) -> Sequence[str] | None: ...
    def __iter__(self) -> Iterator[Sample]: ...


def load_metric(spec: str, *, output: str | None = None, vocabulary: Sequence[str] = ()) -> Metric:
    """A built-in metric or the user's own.

    `top1`: labels are class numbers; output [1, C]. `cer` (character error rate, lower is better) and
    `exact` (share of equal texts): labels are texts; output [1, T, C] is decoded greedily by CTC with
    `vocabulary`. `cosine`: with the fp32 outputs; needs no label. `output` names the one to score where
    there are several. `module:function` is called with an iterator of (outputs by name, label or None)
    and returns a float; a function attribute `better = "lower"` turns the direction.
    UsageError for anything else.
    """
    if spec == "top1":
        return Metric(spec, lambda stream: _mean(_is_top1(scored, output) for scored in stream))
    if spec in ("cer", "exact"):
        return _text_metric(spec, output, tuple(vocabulary))
    if spec == "cosine":
        return Metric(spec, _cosine, needs="fp32")
    if ":" in spec:
        return _own_metric(spec)
    raise UsageError(f"unknown metric '{spec}'", fix=f"use {', '.join(_BUILT_IN)} or module:function")


def read_vocabulary(path: Path) -> tuple[str, ...]:
    """Characters of a text file, one a line; UsageError when there is none."""
    try:
        return _vocabulary(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"vocabulary '{path}' cannot be read", fix="give a UTF-8 file, a character a line"
        ) from error


def vocabulary_of(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Characters that a model carries in its own metadata; UsageError when it has none."""
    return _vocabulary(metadata.get(CHARACTER_KEY, ""))


def _vocabulary(text: str) -> tuple[str, ...]:
    characters = tuple(text.split("\n"))
    # A last line end closes the last character; it does not open an empty one.
    characters = characters[:-1] if characters[-1] == "" else characters
    if not characters:
        raise UsageError("the vocabulary is empty", fix="give a UTF-8 file with a character a line")
    return tuple(character.removesuffix("\r") or character for character in characters)


def score_task(artifact: Session, fp32: Session, samples: LabelledSamples, *, metric: Metric) -> TaskScore:
    """Score both sessions on the same samples, one sample in memory at a time."""
    against = fp32 if metric.needs == "fp32" else None
    base, count = evaluate(fp32, samples, metric, against=against)
    got, _ = evaluate(artifact, samples, metric, against=against)
    return TaskScore(metric.name, base, got, count, metric.better)


def evaluate(
    session: Session, samples: LabelledSamples, metric: Metric, *, against: Session | None = None
) -> tuple[float, int]:
    """(score, number of samples) of one session; SamplesError without samples, labels or a finite score."""
    if metric.needs == "labels" and samples.labels is None:
        raise SamplesError(
            f"metric '{metric.name}' needs labels, and the samples have none",
            fix="give samples with labels, or use --metric cosine",
        )
    count = 0

    def stream() -> Iterator[Scored]:
        nonlocal count
        labels = None if samples.labels is None else iter(samples.labels)
        for sample in samples:
            count += 1
            label = None if labels is None else next(labels, None)
            expected = None if against is None else against.run(sample.feeds)
            yield Scored(sample.name, session.run(sample.feeds), label, expected)

    score = float(metric.score(stream()))
    if not count or not math.isfinite(score):
        raise SamplesError(
            f"metric '{metric.name}' is {score} on {count} samples",
            fix="give at least one sample, labels that are not empty, a function that gives finite numbers",
        )
    return score, count


def _own_metric(spec: str) -> Metric:
    from edgekit.calibration.function_samples import find_function

    function = cast("Callable[[Iterator[tuple[Arrays, str | None]]], float]", find_function(spec))
    better = str(getattr(function, "better", "higher"))
    if better not in ("higher", "lower"):
        raise UsageError(f"metric '{spec}': better is '{better}'", fix="set it to 'higher' or 'lower'")

    def score(stream: Iterable[Scored]) -> float:
        try:
            return float(function((scored.outputs, scored.label) for scored in stream))
        except EdgekitError:
            raise
        except Exception as error:  # the user's own code may raise anything
            raise UsageError(
                f"metric '{spec}' failed with {type(error).__name__}: {error}",
                fix="mend it: it is given pairs (outputs by name, label or None), and returns a number",
            ) from error

    return Metric(
        spec,
        score,
        better=cast("Literal['higher', 'lower']", better),
        needs="nothing",
    )


def _text_metric(spec: str, output: str | None, vocabulary: tuple[str, ...]) -> Metric:
    if not vocabulary:
        raise UsageError(
            f"metric '{spec}' needs the model's characters",
            fix=f"give a vocabulary file, or a model that carries them as metadata '{CHARACTER_KEY}'",
        )

    def texts(stream: Iterable[Scored]) -> Iterator[tuple[str, str]]:
        for scored in stream:
            read = decode_ctc(_only_row(scored, output, rank=2), vocabulary)
            yield read.strip(), _label(scored).strip()

    if spec == "exact":
        return Metric(spec, lambda stream: _mean(got == want for got, want in texts(stream)))
    return Metric(spec, lambda stream: _error_rate(texts(stream)), better="lower")


def decode_ctc(scores: np.ndarray, vocabulary: Sequence[str]) -> str:
    """Greedy CTC of [T, C] scores: class 0 is blank, repeats merge.

    C is 1 + the characters, or 2 + them where the model adds a space at the end (PP-OCR);
    anything else is a UsageError.
    """
    classes = scores.shape[1]
    characters = [*vocabulary, " "] if classes == len(vocabulary) + 2 else list(vocabulary)
    if classes != len(characters) + 1:
        raise UsageError(
            f"the output has {classes} classes and the vocabulary {len(vocabulary)} characters",
            fix="give the vocabulary that the model was trained with",
        )
    best = scores.argmax(axis=1)
    kept = best[np.concatenate(([True], best[1:] != best[:-1]))]
    return "".join(characters[index - 1] for index in kept if index)


def _error_rate(texts: Iterable[tuple[str, str]]) -> float:
    edits = letters = 0
    for got, want in texts:
        edits += edit_distance(got, want)
        letters += len(want)
    return edits / letters if letters else math.nan


def _cosine(stream: Iterable[Scored]) -> float:
    comparisons: dict[str, OutputComparison] = {}
    for scored in stream:
        for name, expected in (scored.fp32 or {}).items():
            comparison = comparisons.setdefault(name, OutputComparison(name))
            comparison.add(_output(scored, name), expected)
    # The worst output: a good one must not hide it.
    return min((comparison.result().cosine for comparison in comparisons.values()), default=math.nan)


def _is_top1(scored: Scored, output: str | None) -> bool:
    row = _only_row(scored, output, rank=1)
    label = _label(scored)
    if not label.strip().isdecimal() or int(label) >= len(row):
        raise SamplesError(
            f"sample '{scored.name}': label {label[:40]!r} is no class number below {len(row)}",
            fix="label samples with class numbers, or score them with module:function",
        )
    return bool(not np.isnan(row).any() and row.argmax() == int(label))


def _mean(hits: Iterable[bool]) -> float:
    found = total = 0
    for hit in hits:
        found += hit
        total += 1
    return found / total if total else math.nan


def _label(scored: Scored) -> str:
    if scored.label is None:
        raise SamplesError(f"sample '{scored.name}' has no label", fix="label every sample")
    return scored.label


def _output(scored: Scored, name: str) -> np.ndarray:
    if name not in scored.outputs:
        have = ", ".join(sorted(scored.outputs))
        raise UsageError(f"there is no output '{name}'", fix=f"outputs are {have}")
    return np.asarray(scored.outputs[name])


def _only_row(scored: Scored, output: str | None, *, rank: int) -> np.ndarray:
    """The scored output of a batch of one, without its batch axis."""
    if output is None and len(scored.outputs) != 1:
        raise UsageError(
            f"the model has {len(scored.outputs)} outputs ({', '.join(sorted(scored.outputs))})",
            fix="name the one to score",
        )
    array = _output(scored, output or next(iter(scored.outputs)))
    if array.ndim != rank + 1 or len(array) != 1:
        raise SamplesError(
            f"sample '{scored.name}': output of shape {array.shape} is no batch of one with {rank} more axes",
            fix="give samples with a batch of one, or score them with module:function",
        )
    return cast("np.ndarray", array[0])

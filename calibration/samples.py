"""Samples of a model's inputs, from folders, files, a function or a random generator, one at a time."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgekit.errors import SamplesError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    import numpy as np

    from edgekit._values import ShapeSpec, TensorInfo
    from edgekit.calibration.preprocess import Preprocess

    Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]
    Source = str | Path | Callable[[], Iterable[Mapping[str, Array] | Array]]


_RANDOM_WARNING = "samples are RANDOM numbers: ranges, parity and accuracy say nothing about real data"


@dataclass(frozen=True)
class Sample:
    """One set of inputs: a name to speak of it by, and an array for every input of the model."""

    name: str
    feeds: Mapping[str, Array]


@dataclass(frozen=True)
class Samples:
    """Samples that can be read again and again, one in memory at a time.

    digest: sha256 of the raw bytes and what is done to them. kind: `random` says they are no data.
    labels: one text a sample, in order, where the source has them. `preprocess`: for images, its text.
    at: reads one by its place, where the source need not read those before it for that.
    """

    digest: str
    kind: Literal["real", "random"]
    description: str
    count: int
    read: Callable[[], Iterator[Sample]] = field(repr=False)
    labels: tuple[str, ...] | None = None
    preprocess: Preprocess | None = None
    at: Callable[[int], Sample] | None = field(default=None, repr=False)

    def __iter__(self) -> Iterator[Sample]:
        return self.read()

    def __len__(self) -> int:
        return self.count

    def spread(self, most: int) -> Sequence[int]:
        """Up to `most` places, evenly spread over all."""
        return sorted({index * self.count // most for index in range(most)})

    def take(self, places: Collection[int]) -> Iterator[Sample]:
        """Those at `places`, in the order of the source, reading no more of it than that needs."""
        if self.at is not None:
            yield from map(self.at, sorted(set(places)))
            return
        most = max(places, default=-1) + 1
        yield from (sample for index, sample in enumerate(islice(self, most)) if index in places)


def load_samples(
    source: Source,
    inputs: Sequence[TensorInfo],
    *,
    preprocess: Preprocess | None = None,
    limit: int | None = None,
    shapes: ShapeSpec | None = None,
) -> Samples:
    """Samples for a model with `inputs` from `source`.

    source: a folder of images (needs `preprocess`) or of .npz/.npy files, one file a sample; one .npz or
    .npy stacked on axis 0; `module:function` or a function returning an iterable of dicts (or arrays, for
    one input); or `random`, which warns. limit: the first ones, files sorted by name. shapes: dims by input
    as a user typed them, ranges among them. Whatever is missing, empty or does not fit raises SamplesError,
    some of it only while reading.
    """
    from edgekit.calibration.random_samples import make_random

    if limit is not None and limit < 1:
        raise SamplesError(f"the limit is {limit}", fix="take at least one sample")
    if not inputs:
        raise SamplesError("the model has no inputs", fix="a model without inputs needs no calibration")
    if str(source) == "random":
        warnings.warn(_RANDOM_WARNING, stacklevel=2)
        samples = make_random(inputs, limit, shapes)
    else:
        samples = _keep_within(_open_source(source, inputs, preprocess, limit), shapes or {})
    if preprocess is not None and samples.preprocess is None:
        raise SamplesError(
            f"preprocessing is given, but {samples.description} are no images", fix="leave --preprocess out"
        )
    return samples


def _keep_within(samples: Samples, shapes: ShapeSpec) -> Samples:
    """The same samples; one whose size lies outside a dim that the user gave raises SamplesError."""

    def check(sample: Sample) -> Sample:
        for name, dims in shapes.items():
            shape = sample.feeds[name].shape if name in sample.feeds else ()
            for axis, (size, dim) in enumerate(zip(shape, dims, strict=False)):
                if not dim.low <= size <= dim.high:
                    raise SamplesError(
                        f"sample '{sample.name}', input '{name}': axis {axis} is {size}, not {dim}",
                        fix="widen the range of --shape, or give samples within it",
                    )
        return sample

    if not shapes:
        return samples
    at = samples.at
    checked = None if at is None else lambda place: check(at(place))
    return replace(samples, read=lambda: map(check, samples.read()), at=checked)


def _open_source(
    source: Source, inputs: Sequence[TensorInfo], preprocess: Preprocess | None, limit: int | None
) -> Samples:
    from edgekit.calibration.folder_samples import load_folder
    from edgekit.calibration.function_samples import find_function, load_function
    from edgekit.calibration.stacked_samples import load_stacked

    if callable(source):
        return load_function(source, inputs, limit)
    path = Path(source)
    if path.is_dir():
        return load_folder(path, inputs, preprocess=preprocess, limit=limit)
    if path.is_file():
        return load_stacked(path, inputs, limit)
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", str(source)):
        return load_function(find_function(str(source)), inputs, limit)
    raise SamplesError(
        f"there are no samples at '{source}'",
        fix="give a folder of images or .npz/.npy files, one .npz/.npy file, module:function, or random",
    )

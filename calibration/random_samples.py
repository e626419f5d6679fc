"""Random numbers in the shape of samples: enough to run a graph, never a base for figures."""

from __future__ import annotations

import hashlib
import math
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from edgekit.calibration.samples import Sample, Samples
from edgekit.calibration.settings import get_count
from edgekit.errors import SamplesError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgekit._values import ShapeSpec, TensorInfo
    from edgekit.calibration.samples import Array


def make_random(inputs: Sequence[TensorInfo], limit: int | None, shapes: ShapeSpec | None = None) -> Samples:
    """Seeded samples, standard-normal floats and integers 0 or 1; `kind` is `random`.

    `shapes` gives dims as a user typed them: of a range the ends are drawn in turn, the largest first, for
    a size between them may be one that the model refuses. A free first dim becomes 1; any other free dim
    raises SamplesError, as it would have to be guessed.
    """
    given = shapes or {}
    ends = [
        {info.name: _choose_shape(info, [pick(dim) for dim in given.get(info.name, ())]) for info in inputs}
        for pick in (attrgetter("high"), attrgetter("low"))
    ]
    count = get_count("samples", "random_count") if limit is None else limit

    def read_all() -> Iterator[Sample]:
        for index in range(count):
            generator = np.random.default_rng((get_count("samples", "random_seed"), index))
            sizes = ends[index % len(ends)]
            yield Sample(
                f"random[{index}]", {info.name: _draw(generator, info, sizes[info.name]) for info in inputs}
            )

    facts = [(info.name, info.dtype, *(sizes[info.name] for sizes in ends)) for info in inputs]
    return Samples(
        digest=hashlib.sha256(f"random\0{count}\0{facts}".encode()).hexdigest(),
        kind="random",
        description=f"{count} samples of random numbers (no data)",
        count=count,
        read=read_all,
    )


def _choose_shape(info: TensorInfo, given: Sequence[int]) -> tuple[int, ...]:
    dims = given or info.shape
    shape = [1 if axis == 0 and not isinstance(dim, int) else dim for axis, dim in enumerate(dims)]
    sizes = [dim for dim in shape if isinstance(dim, int)]
    if len(sizes) != len(shape):
        raise SamplesError(
            f"input '{info.name}' has free dims {list(info.shape)}, random numbers need a size",
            fix=f"fix them with --shape {info.name}=1,...",
        )
    if math.prod(sizes) * np.dtype(info.dtype).itemsize > get_count("samples", "sample_bytes"):
        raise SamplesError(
            f"input '{info.name}' of shape {sizes} is above the cap", fix="choose smaller dims"
        )
    return tuple(sizes)


def _draw(generator: np.random.Generator, info: TensorInfo, shape: tuple[int, ...]) -> Array:
    kind = np.dtype(info.dtype)
    if kind.kind == "f":
        return generator.standard_normal(shape, np.float32).astype(kind)
    if kind.kind in "iub":
        return generator.integers(0, get_count("samples", "random_below"), shape).astype(kind)
    raise SamplesError(
        f"input '{info.name}' is {info.dtype}, which has no random form", fix="give real samples"
    )

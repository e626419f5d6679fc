"""Golden samples: inputs with the outputs that fp32 and the Q/DQ reference give for them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np

from edgekit.errors import SamplesError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgekit.target import Session

    Arrays = Mapping[str, np.ndarray]

GoldenKind = Literal["samples", "random"]
DEFAULT_GOLDEN = 4


class Sample(Protocol):
    """One calibration or verification sample: its name and its inputs."""

    @property
    def name(self) -> str: ...
    @property
    def feeds(self) -> Mapping[str, np.ndarray]: ...


@runtime_checkable
class RunsTogether(Protocol):
    """A session for which several samples at once are less work than one behind the other."""

    def run_all(self, samples: Sequence[Arrays]) -> list[dict[str, np.ndarray]]: ...


def run_all(session: Session, samples: Sequence[Arrays]) -> list[dict[str, np.ndarray]]:
    """`run` of every sample, together where the session can."""
    if isinstance(session, RunsTogether):
        return session.run_all(samples)
    return [session.run(feeds) for feeds in samples]


@dataclass(frozen=True)
class GoldenSample:
    """Inputs and expected outputs by name; `reference` is None where no Q/DQ graph exists."""

    feeds: Arrays
    fp32: Arrays
    reference: Arrays | None = None


@dataclass(frozen=True)
class Golden:
    """The golden samples of one component. `random` ones prove arithmetic, not accuracy.

    scores: the outputs whose largest number is a decision; None: unknown, so all are taken for such.
    """

    component: str
    kind: GoldenKind
    samples: tuple[GoldenSample, ...]
    scores: frozenset[str] | None = None


@dataclass(frozen=True)
class Expected:
    """The sessions that give expected outputs: fp32, and the Q/DQ reference of an INT8 build.

    scores: as in Golden.
    """

    fp32: Session
    reference: Session | None = None
    scores: frozenset[str] | None = None

    def sample(self, feeds: Arrays) -> GoldenSample:
        """Run one sample through both."""
        return self.samples([feeds])[0]

    def samples(self, samples: Sequence[Arrays]) -> tuple[GoldenSample, ...]:
        """Run several through both."""
        fp32 = run_all(self.fp32, samples)
        if self.reference is None:
            return tuple(map(GoldenSample, samples, fp32))
        return tuple(map(GoldenSample, samples, fp32, run_all(self.reference, samples)))


def make_golden(
    component: str,
    samples: Iterable[Sample],
    *,
    expected: Expected,
    kind: GoldenKind,
    most: int = DEFAULT_GOLDEN,
) -> Golden:
    """Golden data of the first `most` samples; SamplesError for none, or inputs holding NaN.

    Kind `random` keeps nothing of the samples but their shapes, dtypes and value ranges.
    """
    chosen = tuple(islice(samples, most))
    if not chosen:
        raise SamplesError(
            f"component '{component}': no sample to verify with",
            fix="give --samples with at least one sample, or --golden random",
        )
    for sample in chosen:
        _refuse_nan(sample)
    feeds = [dict(sample.feeds) for sample in chosen]
    if kind == "random":
        feeds = [random_feeds(real, seed=seed) for seed, real in enumerate(feeds)]
    return Golden(component, kind, expected.samples(feeds), expected.scores)


def random_feeds(feeds: Arrays, *, seed: int) -> dict[str, np.ndarray]:
    """Noise in place of private data: same shapes, dtypes and value range as `feeds`, seeded.

    Integer inputs are drawn uniformly between their extremes, float ones likewise, bools evenly.
    """
    generator = np.random.default_rng(seed)
    return {name: _noise_like(feeds[name], generator) for name in sorted(feeds)}


def _noise_like(array: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    if array.dtype.kind == "b":
        return generator.integers(0, 2, array.shape).astype(array.dtype)
    finite = array[np.isfinite(array)]
    if not finite.size:
        return array.copy()
    low, high = finite.min(), finite.max()
    if array.dtype.kind in "iu":
        return generator.integers(low, high, array.shape, dtype=array.dtype, endpoint=True)
    return generator.uniform(float(low), float(high), array.shape).astype(array.dtype)


def _refuse_nan(sample: Sample) -> None:
    for name, array in sample.feeds.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise SamplesError(
                f"sample '{sample.name}': input '{name}' holds NaN",
                fix="remove the sample or mend its preprocessing",
            )

"""A program of alike layers, written for a few of them, extended to any number."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

WINDOWS = 3  # layers at the end of a short program: two that are compared with each other, and the last one


@dataclass(frozen=True)
class Shared:
    """What is the same in every layer: a weight or an input by name, or a value.

    shape: of a weight that is read as it is or transposed.
    """

    key: Hashable
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class OfLayer:
    """A weight or an input that each layer has its own of; weight: weights tell where a layer begins.

    shape: as in Shared.
    """

    layer: int
    key: Hashable
    weight: bool
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Made:
    """Output number `output` of a step."""

    step: int
    output: int


Read = Shared | OfLayer | Made


@dataclass(frozen=True)
class Step:
    """One operation: what it is (op, attributes, shapes) and what it reads.

    origin: the step of the short program that it stands for; it does not count in comparisons.
    """

    what: Hashable
    reads: tuple[Read, ...]
    origin: int = field(compare=False)


@dataclass(frozen=True)
class Program:
    """Steps in the order they run; outputs by name and, where each layer has one, its layer."""

    steps: tuple[Step, ...]
    outputs: Mapping[tuple[str, int | None], Read]


@dataclass(frozen=True)
class _Windows:
    """Where three layers in a row begin; windows of one length run from each to the next."""

    starts: tuple[int, int, int]
    last: int  # the layer that begins at the third start

    @property
    def length(self) -> int:
        return self.starts[1] - self.starts[0]

    def shifted(self, read: Read, layers: int) -> Read:
        """What a window reads, `layers` layers further on."""
        if isinstance(read, OfLayer):
            return replace(read, layer=read.layer + layers)
        if isinstance(read, Made) and read.step >= self.starts[0]:
            return replace(read, step=read.step + layers * self.length)
        return read

    def follows(self, first: Read, second: Read) -> bool:
        """Whether the second window reads at this place what the first does, a layer further on."""
        if self.shifted(first, 1) == second:
            return True
        carried = isinstance(second, Made) and self.starts[0] <= second.step < self.starts[1]
        return carried and isinstance(first, Made) and first.step < self.starts[0]

    def moved(self, read: Read, layers: int) -> Read | None:
        """What the last layer and all behind it read, `layers` layers further on; None where no rule says."""
        start, middle, _ = self.starts
        if isinstance(read, OfLayer):
            return replace(read, layer=read.layer + layers) if read.layer == self.last else None
        if isinstance(read, Made) and read.step >= start:
            return replace(read, step=read.step + layers * self.length) if read.step >= middle else None
        return read


def extend(short: Program, count: int) -> Program | None:
    """The program of `count` layers from that of a few, the last WINDOWS of which are alike.

    Between the first weights of two layers lies one layer's window. Two windows in a row must be the same
    steps, reading the same or what is the same a layer further on; the second is then repeated in front of
    the last layer. None where they differ, or a layer reads from further back than the one before it.
    """
    windows = _find_windows(short.steps)
    if windows is None:
        return None
    added = count - 1 - windows.last
    start, middle, end = windows.starts
    pairs = zip(short.steps[start:middle], short.steps[middle:end], strict=True)
    if not all(_alike(first, second, windows) for first, second in pairs):
        return None
    copies = [
        replace(step, reads=tuple(windows.shifted(read, number) for read in step.reads))
        for number in range(1, added + 1)
        for step in short.steps[middle:end]
    ]
    rest = []
    for step in short.steps[end:]:
        reads = [windows.moved(read, added) for read in step.reads]
        if None in reads:
            return None
        rest.append(replace(step, reads=tuple(read for read in reads if read is not None)))
    outputs = _extend_outputs(short.outputs, windows, count)
    return None if outputs is None else Program((*short.steps[:end], *copies, *rest), outputs)


def _find_windows(steps: Sequence[Step]) -> _Windows | None:
    """The last three layers' beginnings, one window's length apart."""
    first: dict[int, int] = {}
    for place, step in enumerate(steps):
        for read in step.reads:
            if isinstance(read, OfLayer) and read.weight:
                first.setdefault(read.layer, place)
    places = [first.get(layer, -1) for layer in range(len(first))]
    if len(places) < WINDOWS or -1 in places or places != sorted(places):
        return None
    start, middle, end = places[-WINDOWS:]
    found = _Windows((start, middle, end), len(places) - 1)
    return found if middle - start == end - middle > 0 else None


def _alike(first: Step, second: Step, windows: _Windows) -> bool:
    return (
        first.what == second.what
        and len(first.reads) == len(second.reads)
        and all(map(windows.follows, first.reads, second.reads))
    )


def _extend_outputs(
    outputs: Mapping[tuple[str, int | None], Read], windows: _Windows, count: int
) -> dict[tuple[str, int | None], Read] | None:
    """Those of the last layer become the whole's last; of the layers put in, those of the second window."""
    made: dict[tuple[str, int | None], Read] = {}
    added = count - 1 - windows.last
    for (name, layer), read in outputs.items():
        if layer is None or layer == windows.last:
            moved = windows.moved(read, added)
            if moved is None:
                return None
            made[name, None if layer is None else count - 1] = moved
            continue
        made[name, layer] = read
        if layer == windows.last - 1:
            before = outputs.get((name, layer - 1))
            if before is None or not windows.follows(before, read):
                return None
            made |= {(name, layer + number): windows.shifted(read, number) for number in range(1, added + 1)}
    return made

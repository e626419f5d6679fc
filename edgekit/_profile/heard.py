"""The runner's events, checked line by line: what a device says is hostile until it has been."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgekit._strict_json import is_number
from edgekit._values import Placement
from edgekit.profiles.probes.transport import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgekit._device_tool import ToolTimes

_MOST_TEXT = 4000
_MOST_RUNS = 5_000_000
_MOST_ROWS = 100_000
_MOST_COMMANDS = 1000
_MOST_UNITS = 100


@dataclass
class Round:
    """One worker's turn: start and end on the device's clock in s, ns of each run, CPU ns of all.

    earlier: it was measured in a run that broke off, on a clock that nobody has any more.
    told: what a benchmark tool told of it, which gives no single runs.
    """

    start: float
    end: float
    ns: list[int]
    cpu_ns: int
    soak: bool = False
    earlier: bool = False
    told: ToolTimes | None = None

    @property
    def count(self) -> int:
        """Timed runs in it."""
        return len(self.ns) if self.told is None else self.told.count

    @property
    def mean_ms(self) -> float:
        return sum(self.ns) / 1e6 / len(self.ns) if self.told is None else self.told.ms["mean"]


@dataclass
class WorkerHeard:
    """What was heard of one artifact so far."""

    runtime: str = ""
    load_ns: int | None = None
    first_run_ns: int | None = None
    warm_up_ns: list[int] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    outputs: list[dict[str, str]] = field(default_factory=list)
    layers: list[tuple[str, str, float]] = field(default_factory=list)
    layers_note: str = ""
    placements: list[Placement] = field(default_factory=list)
    peak_bytes: int | None = None


@dataclass
class Heard:
    """All events of one run; a run that broke off leaves what it gave.

    told: the device itself told the problem, so it was there to the end.
    clock, device_wall and wall: one moment on the device's steady clock, by its date and by ours, in s.
    """

    workers: dict[int, WorkerHeard]
    facts: dict[str, str] = field(default_factory=dict)
    meters: tuple[str, ...] = ()
    idle: tuple[float, float] | None = None
    samples: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    clock: float | None = None
    wall: float = 0.0
    device_wall: float | None = None
    printed: list[str] = field(default_factory=list)
    problem: str = ""
    told: bool = False
    done: bool = False

    @classmethod
    def of(cls, count: int) -> Heard:
        """Nothing yet, of `count` artifacts."""
        return cls({index: WorkerHeard() for index in range(count)})

    def take(self, line: bytes) -> str:
        """Take one line in; the event's name. DeviceError for anything but one of our events."""
        try:
            event = json.loads(line.decode("utf-8"))
            name = str(event["event"])
            _TAKE[name](self, event)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            shown = line[:120].decode("utf-8", "replace")
            raise DeviceError(
                f"the device printed what is no event of edgekit's runner: {shown!r}",
                fix="see what prints on stdout there (a shell greeting, a sitecustomize)",
            ) from error
        return name

    @property
    def skew_s(self) -> float:
        """How far the device's date is ahead of this machine's; 0 where it did not tell."""
        return 0.0 if self.device_wall is None else self.device_wall - self.wall

    def worker(self, event: Mapping[str, Any]) -> WorkerHeard:
        return self.workers[_integer(event["worker"])]


def _facts(heard: Heard, event: Mapping[str, Any]) -> None:
    heard.facts = {_text(name): _text(value) for name, value in event["facts"].items()}


def _clock(heard: Heard, event: Mapping[str, Any]) -> None:
    heard.clock = _number(event["at"])
    heard.device_wall = _number(event["wall"])


def _meters(heard: Heard, event: Mapping[str, Any]) -> None:
    heard.meters = tuple(_text(name) for name in event["found"])


def _idle(heard: Heard, event: Mapping[str, Any]) -> None:
    heard.idle = (_number(event["start"]), _number(event["end"]))


def _loaded(heard: Heard, event: Mapping[str, Any]) -> None:
    worker = heard.worker(event)
    worker.runtime = _text(event["runtime"])
    worker.load_ns, worker.first_run_ns = _integer(event["load_ns"]), _integer(event["first_run_ns"])
    _placed(worker, event)


def _outputs(heard: Heard, event: Mapping[str, Any]) -> None:
    heard.worker(event).outputs = [
        {_text(name): _text(file) for name, file in sample.items()} for sample in event["samples"]
    ]


def _warm_up(heard: Heard, event: Mapping[str, Any]) -> None:
    heard.worker(event).warm_up_ns = _times(event["ns"])


def _round(heard: Heard, event: Mapping[str, Any]) -> None:
    worker = heard.worker(event)
    start, end = _number(event["start"]), _number(event["end"])
    if end < start or sum(len(one.ns) for one in worker.rounds) > _MOST_RUNS:
        raise ValueError("a round ends before it starts, or there are too many runs")
    soak = event.get("soak") is True
    worker.rounds.append(Round(start, end, _times(event["ns"]), _integer(event["cpu_ns"]), soak))


def _sensors(heard: Heard, event: Mapping[str, Any]) -> None:
    values = {_text(name): _number(value) for name, value in event["values"].items()}
    heard.samples.append((_number(event["at"]), values))


def _layers(heard: Heard, event: Mapping[str, Any]) -> None:
    worker = heard.worker(event)
    worker.layers_note = _text(event.get("reason", ""))
    rows = event.get("rows", [])
    if len(rows) > _MOST_ROWS:
        raise ValueError("too many layers")
    _placed(worker, event)
    worker.layers = [(_text(row["name"]), _text(row["op"]), _number(row["us"])) for row in rows]


def _placed(worker: WorkerHeard, event: Mapping[str, Any]) -> None:
    """Where operators run, if the runtime says so."""
    rows = event.get("placements") or []
    if len(rows) > _MOST_UNITS:
        raise ValueError("too many units")
    worker.placements += [
        Placement(_text(row["unit"]), None if row["ops"] is None else _integer(row["ops"]), _text(row["why"]))
        for row in rows
    ]


def _memory(heard: Heard, event: Mapping[str, Any]) -> None:
    heard.worker(event).peak_bytes = _integer(event["peak_bytes"])


def _command(heard: Heard, event: Mapping[str, Any]) -> None:
    printed = event["stdout"]
    if not isinstance(printed, str) or len(heard.printed) > _MOST_COMMANDS:
        raise TypeError("not text, or too many commands")
    heard.printed.append(printed)


def _error(heard: Heard, event: Mapping[str, Any]) -> None:
    heard.problem = _text(event["problem"])
    heard.told = True


def _alive(heard: Heard, event: Mapping[str, Any]) -> None:
    """A long command still runs there."""


def _done(heard: Heard, event: Mapping[str, Any]) -> None:  # noqa: ARG001 - the table's signature
    heard.done = True


_TAKE: dict[str, Callable[[Heard, Mapping[str, Any]], None]] = {
    "clock": _clock,
    "facts": _facts,
    "meters": _meters,
    "idle": _idle,
    "loaded": _loaded,
    "outputs": _outputs,
    "warm_up": _warm_up,
    "round": _round,
    "sensors": _sensors,
    "layers": _layers,
    "memory": _memory,
    "alive": _alive,
    "command": _command,
    "error": _error,
    "done": _done,
}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return "".join(sign if sign.isprintable() else "?" for sign in value[:_MOST_TEXT])


def _number(value: object) -> float:
    if not is_number(value):
        raise TypeError("not a finite number")
    return float(value)


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 62:
        raise TypeError("not a whole number")
    return value


def _times(value: object) -> list[int]:
    if not isinstance(value, list) or len(value) > _MOST_RUNS:
        raise TypeError("not a list of times")
    return [_integer(item) for item in value]

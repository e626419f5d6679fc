"""One visit to a device without Python: a benchmark tool runs and times there, told what to do from here."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgekit._device_tool import ToolCall
from edgekit._profile.android import facts_of, samples_of
from edgekit._profile.heard import Round
from edgekit._profile.job import FOLDER, SCRIPTS
from edgekit._profile.parity import compare_arrays
from edgekit._profile.resume import count_turns
from edgekit._profile.tool_file import refuse_foreign_times, refuse_other_machine
from edgekit._profile.visit import add_meter
from edgekit.profiles.probes.streams import run_to_end
from edgekit.profiles.probes.transport import DeviceError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgekit._device_tool import DeviceTool, ToolTimes
    from edgekit._profile.heard import Heard
    from edgekit._profile.job import Trip
    from edgekit._results import OutputParity
    from edgekit._values import Artifact, Progress
    from edgekit._verify import Golden, GoldenSample
    from edgekit.profiles.probes.transport import Running, Transport

TOOL = f"{FOLDER}/tool"
_SHELL_SCRIPTS = ("describe.sh", "sample.sh", "timed.sh")
_MOST_PROFILE = 16 << 20
_MOST_PRINTED = 4 << 20
_SHORT_S = 60.0
_LAYER_RUNS = 20


@dataclass
class ToolVisit:
    """What runs where, and what was heard so far."""

    trip: Trip
    transport: Transport
    heard: Heard
    scratch: Path
    progress: Progress
    inputs: dict[tuple[int, int], tuple[str, ...]] = field(default_factory=dict)
    run_s: dict[int, float] = field(default_factory=dict)
    folder: str = ""

    @property
    def tools(self) -> tuple[DeviceTool, ...]:
        return self.trip.tools

    def run(self) -> tuple[tuple[OutputParity, ...], ...]:
        """Push, prove, time in turns; what breaks off is told in `heard.problem`, what was heard stays.

        DeviceError where not even the device's facts were heard.
        """
        self._push()
        self.heard.facts = facts_of(self._ask("sh", f"{FOLDER}/describe.sh"))
        date = self.heard.facts.pop("clock", "")
        self.heard.device_wall = float(date) if date.isdigit() else None
        self.heard.clock, self.heard.wall = self._uptime(), time.time()
        refuse_other_machine(self.trip.tool, self.heard.facts)
        refuse_foreign_times(self.tools, self.heard.facts)
        self._refuse_little_memory()
        parities: list[tuple[OutputParity, ...]] = [() for _ in self.tools]
        sampler = Sampler(self.transport, self.trip.options.sample_hz)
        try:
            self._measure(parities)
            self.heard.done = True
        except DeviceError as error:
            self.heard.problem = str(error)
        finally:
            sampler.stop()
            self.heard.samples, self.heard.meters = samples_of(sampler.lines, self.heard.facts)
            add_meter(self.heard, self.trip.options.power_csv)
        return tuple(parities)

    def _push(self) -> None:
        files = {f"{FOLDER}/{name}": SCRIPTS / name for name in _SHELL_SCRIPTS} | {TOOL: self.trip.tool}
        for index, (artifact, tool) in enumerate(zip(self.trip.artifacts, self.tools, strict=True)):
            files |= {f"{FOLDER}/{path.name}": path for path in tool.libraries(self.trip.tool)}
            # A folder an artifact: a tool may take all that lies beside a model for its own.
            files |= {f"{FOLDER}/{index}/{name}": self.trip.bundle.folder / name for name in artifact.loaded}
            for number, sample in enumerate(self._fed(index)):
                names = []
                for place, data in enumerate(tool.encode(sample.feeds)):
                    names.append(tool.input_file(self._model(index), number, place))
                    path = self.scratch / f"input-{index}-{number}-{place}"
                    path.write_bytes(data)
                    files[names[-1]] = path
                self.inputs[index, number] = tuple(names)
        self.transport.push(files)
        self._ask("chmod", "700", TOOL)
        self.folder = self._ask("pwd").strip()

    def _model(self, index: int) -> str:
        return f"{FOLDER}/{index}/{self.trip.artifacts[index].main}"

    def _fed(self, index: int) -> Sequence[GoldenSample]:
        """The golden samples that go there: the first is timed, the others are for outputs that come back."""
        samples = self._golden(index).samples
        return samples if self.tools[index].saves_outputs else samples[:1]

    def _refuse_little_memory(self) -> None:
        """A file that does not fit into what is free would be ended by the system halfway."""
        free = self.heard.facts.get("memory_free", "").removesuffix(" kB")
        largest = max(
            sum(path.stat().st_size for path in self._artifact_files(one)) for one in self.trip.artifacts
        )
        if free.isdigit() and largest > int(free) * 1024:
            raise DeviceError(
                f"{largest >> 20} MiB of model do not fit into {int(free) >> 10} MiB of free memory",
                fix="close apps there, or profile a smaller --variant",
            )

    def _artifact_files(self, artifact: Artifact) -> list[Path]:
        return [self.trip.bundle.folder / name for name in artifact.loaded]

    def _golden(self, index: int) -> Golden:
        return self.trip.bundle.stored_golden(self.trip.artifacts[index].component)

    def _measure(self, parities: list[tuple[OutputParity, ...]]) -> None:
        start = self._uptime()
        time.sleep(self.trip.options.idle_s)
        self.heard.idle = (start, self._uptime())
        for index in range(len(self.tools)):
            self.progress("compare with the golden outputs", index, len(self.tools))
            parities[index] = self._prove(index)
        self._take_turns()
        for index in range(len(self.tools)):
            self._time_layers(index)

    def _prove(self, index: int) -> tuple[OutputParity, ...]:
        """Each golden sample once, its outputs beside fp32's; the first call's load and run are kept."""
        golden, tool, worker = self._golden(index), self.tools[index], self.heard.workers[index]
        worker.runtime = tool.describe()
        made = []
        for number in range(len(self._fed(index))):
            output = f"{FOLDER}/output-{index}-{number}" if tool.saves_outputs else ""
            told, *_ = self._call(index, self._tool_call(index, number, runs=1, warm_up=1, output=output))
            if number == 0:
                self.run_s[index] = told.ms["mean"] / 1e3
                worker.load_ns, worker.first_run_ns = _ns(told.load_ms), _ns(told.first_ms)
                worker.placements = list(told.placements)
            if tool.saves_outputs:
                local = self.scratch / "output"
                self.transport.pull(output, local, tool.output_bytes)
                made.append(tool.decode(local.read_bytes()))
        return compare_arrays(made, golden) if tool.saves_outputs else ()

    def _tool_call(self, index: int, number: int = 0, **how: Any) -> ToolCall:
        """A call on one golden sample; `how`: the other fields of ToolCall."""
        return ToolCall(
            self._model(index),
            self.inputs[index, number],
            self.trip.options.threads,
            folder=self.folder,
            tools=f"{self.folder}/{FOLDER}",
            **how,
        )

    def _take_turns(self) -> None:
        """Rounds that go through the artifacts forth and back, so that heat and clocks fall on all alike."""
        options = self.trip.options
        indices = list(range(len(self.tools)))
        seconds = (options.seconds or 0.0) / options.rounds
        runs = 1 if options.seconds else max(1, options.runs // options.rounds)
        for number in range(count_turns(options.earlier), options.rounds):
            for index in indices if number % 2 == 0 else indices[::-1]:
                self._time_round(index, runs, seconds)
                done = sum(len(worker.rounds) for worker in self.heard.workers.values())
                self.progress("measure", done, options.rounds * len(indices))
        until = time.monotonic() + options.soak_s
        while options.soak_s and time.monotonic() < until:
            self._time_round(0, 1, min(5.0, options.soak_s), soak=True)

    def _time_round(self, index: int, runs: int, seconds: float, *, soak: bool = False) -> None:
        warm_up = max(1, self.trip.options.warm_up)  # each turn is a process of its own, and starts cold
        call = self._tool_call(index, runs=runs, seconds=seconds, warm_up=warm_up)
        told, start, end = self._call(index, call)
        self.heard.workers[index].rounds.append(Round(start, end, [], 0, soak=soak, told=told))

    def _time_layers(self, index: int) -> None:
        """Times by operator and the peak memory, in a call of their own: both slow the runs."""
        worker, tool = self.heard.workers[index], self.tools[index]
        file = "" if tool.no_layers else f"{FOLDER}/layers-{index}.csv"
        call = self._tool_call(index, runs=_LAYER_RUNS, warm_up=1, layers=file)
        told, *_ = self._call(index, call)
        worker.peak_bytes = None if told.peak_bytes is None else int(told.peak_bytes)
        if not file:
            worker.layers_note = tool.no_layers
            return
        rows = tool.layers(self._pull_profile(tool.name, file), call)
        worker.layers = [(row.name, row.op, row.us) for row in rows]
        worker.layers_note = "" if rows else f"{tool.name} wrote no times by operator"
        worker.placements = worker.placements or list(tool.place(rows))

    def _pull_profile(self, tool: str, file: str) -> str:
        """The profile's text; DeviceError where the tool wrote none."""
        if self._ask("sh", "-c", 'test -f "$1" && echo yes; true', "sh", file).strip() != "yes":
            raise DeviceError(
                f"{tool} ran and wrote no profile '{file}' there",
                fix="take a newer one, and look with --keep at what it wrote",
            )
        local = self.scratch / "layers"
        self.transport.pull(file, local, _MOST_PROFILE)
        return local.read_text(encoding="utf-8", errors="replace")

    def _call(self, index: int, call: ToolCall) -> tuple[ToolTimes, float, float]:
        """(what it told, start, end on the device's clock); DeviceError with its last words.

        The tool is silent while it runs: one that takes ten times what the first run promised hangs.
        """
        tool, artifact = self.tools[index], self.trip.artifacts[index]
        expected = (call.runs + call.warm_up) * self.run_s.get(index, 0.0)
        patience = self.trip.options.patience_s + call.seconds + 10 * expected
        values = [f"{name}={value}" for name, value in tool.environment(call.tools).items()]
        words = ("sh", f"{FOLDER}/timed.sh", "env", *values, f"./{TOOL}", *tool.command(call))
        running = self.transport.start(words)
        try:
            lines = _read_all(running, patience)
            code, errors = running.finish()
        except DeviceError as error:
            raise DeviceError(f"{artifact.main} in {tool.name}: {error.problem}", fix=error.fix) from error
        finally:
            running.stop()
        marks = [float(line[3:]) for line in lines if line.startswith("AT ")]
        printed = "\n".join(line for line in lines if not line.startswith("AT "))
        if code != 0 or len(marks) != 2:
            said = [line for line in [*errors.splitlines(), *printed.splitlines()] if line.strip()]
            last = said[-1] if said else "it said nothing"
            raise DeviceError(
                f"{artifact.main}: {tool.name} ended with status {code}: {last[:300]}",
                fix="run it there by hand (--keep leaves everything in place)",
            )
        return tool.read(printed), marks[0], marks[1]

    def _ask(self, *words: str) -> str:
        code, output, errors = run_to_end(self.transport.start(words), patience_s=_SHORT_S, most=1 << 20)
        if code != 0:
            raise DeviceError(
                f"'{' '.join(words)}' failed there: {errors[-300:]}", fix="try it there by hand"
            )
        return output.decode("utf-8", "replace")

    def _uptime(self) -> float:
        return float(self._ask("cat", "/proc/uptime").split()[0])


class Sampler:
    """The device's sensors, read there until `stop`; a device that has none gives no lines."""

    def __init__(self, transport: Transport, rate_hz: float) -> None:
        self.lines: list[str] = []
        self._running = transport.start(("sh", f"{FOLDER}/sample.sh", f"{1 / rate_hz:g}"))
        self._thread = threading.Thread(target=self._follow, args=(self._running,), daemon=True)
        self._thread.start()

    def _follow(self, running: Running) -> None:
        with suppress(DeviceError):
            while (line := running.read_line(_SHORT_S)) is not None:
                self.lines.append(line.decode("utf-8", "replace"))

    def stop(self) -> None:
        self._running.stop()
        self._thread.join(_SHORT_S)


def _read_all(running: Running, patience_s: float) -> Sequence[str]:
    lines, size = [], 0
    while (line := running.read_line(patience_s)) is not None:
        size += len(line)
        if size > _MOST_PRINTED:
            raise DeviceError("it prints more than edgekit reads", fix="run it there by hand and look")
        lines.append(line.decode("utf-8", "replace").rstrip("\r"))
    return lines


def _ns(ms: float | None) -> int | None:
    return None if ms is None else int(ms * 1e6)

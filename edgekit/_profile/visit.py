"""One visit to a device: files there, the runner's events back, outputs compared."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._profile.heard import Heard
from edgekit._profile.job import FOLDER, describe_job, list_files, write_job
from edgekit._profile.parity import compare_outputs
from edgekit._profile.resume import recall_turns
from edgekit.profiles.probes.power_csv import read_power_csv
from edgekit.profiles.probes.transport import DeviceError

if TYPE_CHECKING:
    from edgekit._profile.job import Trip
    from edgekit._results import OutputParity
    from edgekit._values import Progress
    from edgekit.profiles.probes.transport import Transport

    Parities = tuple[tuple[OutputParity, ...], ...]


def visit(trip: Trip, transport: Transport, progress: Progress) -> tuple[Heard, Parities]:
    """Copy, listen to the end or the break, compare what was computed.

    DeviceError where not even the device's facts were heard; what fails after them is `heard.problem`.
    """
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        progress("copy files", 0, None)
        job = Path(scratch) / "job.json"
        write_job(describe_job(trip), job)
        transport.push({**list_files(trip), f"{FOLDER}/job.json": job})
        heard = Heard.of(len(trip.artifacts))
        if trip.options.earlier is not None:
            recall_turns(heard, trip.options.earlier)
        _listen(trip, transport, heard, progress)
        add_meter(heard, trip.options.power_csv)
        progress("compare with the golden outputs", 0, None)
        return heard, _compare(trip, transport, heard, Path(scratch))


def _listen(trip: Trip, transport: Transport, heard: Heard, progress: Progress) -> None:
    """Take events until the end; what breaks off is told in `heard.problem`."""
    options = trip.options
    patience = options.patience_s + (options.seconds or 0.0)
    command = (options.python or "python3", "-B", f"{FOLDER}/runner.py", f"{FOLDER}/job.json")
    running = transport.start(command)
    expected = len(trip.artifacts) * options.rounds
    try:
        while (line := running.read_line(patience)) is not None:
            event = heard.take(line)
            if event == "clock":
                heard.wall = time.time()
            if event == "round":
                done = sum(len(worker.rounds) for worker in heard.workers.values())
                progress("measure", min(done, expected), expected)
        code, errors = running.finish()
        if not heard.done and not heard.problem:
            last = errors.strip().splitlines()[-1:] or ["it said nothing"]
            heard.problem = f"the runner ended early (status {code}): {last[0][:300]}"
    except DeviceError as error:
        heard.problem = str(error)
    finally:
        running.stop()
    if not heard.facts:
        raise DeviceError(
            f"{transport.label}: {heard.problem}",
            fix=f"see that python3 runs there, with: {trip.runs[0].needs}",
        )


def add_meter(heard: Heard, log: Path | None) -> None:
    """A meter's own log, where there is one, on the device's clock: both clocks were read in one moment."""
    if heard.clock is None or log is None:
        return
    shift = heard.clock - heard.wall
    rows = [(at + shift, watt) for at, watt in read_power_csv(log)]
    heard.samples += [(at, {"power/meter_W": watt}) for at, watt in rows if at >= heard.clock]
    heard.meters = (*heard.meters, "power/meter_W")


def _compare(trip: Trip, transport: Transport, heard: Heard, scratch: Path) -> Parities:
    """Parity of each artifact's outputs; a file that does not come is the run's problem."""
    found: list[tuple[OutputParity, ...]] = []
    for index, artifact in enumerate(trip.artifacts):
        golden = trip.bundle.stored_golden(artifact.component)
        try:
            found.append(compare_outputs(transport, heard.workers[index].outputs, golden, scratch))
        except DeviceError as error:
            heard.problem = heard.problem or str(error)
            found.append(())
    return tuple(found)

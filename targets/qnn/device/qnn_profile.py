"""Reads the CSV that the QNN provider writes (profiling_level=detailed): the time of each node of a context.

The board's script and the host share this file: standard library only, Python 3.8.
"""

from __future__ import annotations

import re
from typing import Dict, Iterator, List, Tuple

HEADER = "Msg Timestamp,Message,Time,Unit of Measurement,Timing Source,Event Level,Event Identifier"
#: What a node's microseconds rest on.
WHY = (
    "as the QNN profile lists them; it gives cycles, and a node's time is its share of an execution's cycles times "
    "that execution's microseconds"
)
_CYCLES = "Accelerator (execute) time (cycles)"
_TIME = "Accelerator (execute) time"
_NODE_NAME = re.compile(r"(:OpId_\d+)? \(cycles\)$")


class QnnProfileError(ValueError):
    """A file that is no whole QNN profile."""


def read_profile(text: str, runs: int) -> List[Dict[str, object]]:
    """Mean microseconds of a run by node, {"name", "op", "us"} in the order of the file.

    text: the whole file. runs: how often the model ran, warm-up included; a model cut into several contexts has
    several executions a run. QnnProfileError, in one line, for another heading, unit or order, or a file that ends early.
    """
    total: Dict[str, float] = {}
    nodes: List[Tuple[str, float]] = []
    cycles, executions, root = None, 0, ""
    for number, (kind, value, unit, level, name) in _rows(text):
        if level == "ROOT":
            root = name
        if name == _CYCLES and level == "ROOT":
            _expect(unit == "CYCLES" and cycles is None, number, "an execution begins before the last one ended")
            cycles, nodes = value, []
        elif kind == "NODE":
            _expect(unit == "CYCLES", number, "a node has the unit '%s', not CYCLES" % unit)
            _expect(root == _CYCLES, number, "a node stands outside an execution")
            nodes.append((_NODE_NAME.sub("", name), value))
        elif name == _TIME and level == "ROOT":
            _expect(unit == "US" and cycles is not None, number, "an execution has a time and no cycles")
            for node, part in nodes:
                total[node] = total.get(node, 0.0) + (part / cycles * value if cycles else 0.0)
            cycles, executions = None, executions + 1
    if cycles is not None:
        raise QnnProfileError("the QNN profile ends inside an execution: it was cut off")
    if not executions or executions % runs:
        raise QnnProfileError("the QNN profile holds %d executions of %d runs: it was cut off" % (executions, runs))
    return [{"name": name, "op": "", "us": us / runs} for name, us in total.items()]


def _rows(text: str) -> Iterator[Tuple[int, Tuple[str, float, str, str, str]]]:
    """(line number, (message, value, unit, level, name)) of each row; a name may hold commas."""
    lines = text.splitlines()
    if not lines or lines[0].strip() != HEADER:
        raise QnnProfileError("no QNN profile: its first line is '%s'" % (lines[0][:100] if lines else ""))
    for number, line in enumerate(lines[1:], 2):
        cells = line.split(",", 6)
        _expect(len(cells) == 7, number, "it was cut off, or holds '%s'" % line[:80])
        _, kind, value, unit, _, level, name = cells
        _expect(value.isdigit(), number, "the value is '%s'" % value[:40])
        yield number, (kind, float(value), unit, level, name.strip())
    if not text.endswith("\n"):
        raise QnnProfileError("the QNN profile has no end of line: it was cut off")


def _expect(holds: bool, number: int, problem: str) -> None:
    if not holds:
        raise QnnProfileError("line %d of the QNN profile: %s" % (number, problem))

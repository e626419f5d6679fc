"""Stands in for NVIDIA's trtexec where no device exists: its public flags and file formats, no GPU.

It knows one model, y = 2 * x over float32, which it computes from the raw input file it is given. What
it was asked is appended to $FAKE_LOG; $FAKE_VERSION is the number in the banner; $FAKE_FAIL is a
message to fail with, $FAKE_NAN spoils the first output, $FAKE_SLOW_INT8 slows the int8 engine, and a run
of $FAKE_STUCK seconds or more ends within the warm-up.
"""

from __future__ import annotations

import json
import math
import os
import struct
import sys
import time
from pathlib import Path

FLAGS_10 = """
--onnx --saveEngine --loadEngine --skipInference --fp16 --int8 --stronglyTyped --minShapes --optShapes
--maxShapes --shapes --loadInputs --exportOutput --exportTimes --warmUp --duration --iterations
--noDataTransfers --useCudaGraph --useSpinWait --timingCacheFile --exportProfile --dumpProfile
--separateProfileRun"""


def flags(version: int) -> set[str]:
    """The flags that a trtexec of this version lists."""
    known: set[str] = set(FLAGS_10.split())
    if version < 8600:
        known = known - {"--skipInference", "--stronglyTyped"} | {"--buildOnly"}
    if version >= 110000:
        known = known - {"--fp16", "--int8", "--stronglyTyped"} | {"--dataTransfers"}
    return known


def main(arguments: list[str]) -> int:
    """One trtexec run."""
    version = int(os.environ.get("FAKE_VERSION", "100300"))
    print(f"&&&& RUNNING TensorRT.trtexec [TensorRT v{version}] # trtexec")
    if arguments == ["--help"]:
        print("\n".join(f"  {flag}  words about it" for flag in sorted(flags(version))))
        return 0
    with Path(os.environ["FAKE_LOG"]).open("a") as log:
        log.write(json.dumps(arguments) + "\n")
    given = {part.partition("=")[0]: part.partition("=")[2] for part in arguments}
    unknown = set(given) - flags(version)
    failure = f"Unknown option: {min(unknown)}" if unknown else os.environ.get("FAKE_FAIL")
    if failure:
        print(f"[11/22/2026-10:00:00] [E] {failure}")
        return 1
    if "--onnx" in given:
        Path(given["--saveEngine"]).write_text(f"engine of {given['--onnx']}")
        return 0
    engine = Path(given["--loadEngine"]).read_text()
    if "--exportOutput" in given:
        Path(given["--exportOutput"]).write_text(output(given["--loadInputs"]))
    if "--exportTimes" in given:
        time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
        stuck = int(given["--duration"]) >= int(os.environ.get("FAKE_STUCK", "1000000"))
        Path(given["--exportTimes"]).write_text(times(engine, stuck=stuck))
    if "--exportProfile" in given:
        layers = [{"count": 50}, {"name": "mul + relu", "timeMs": 5, "averageMs": 0.1, "medianMs": 0.09}]
        Path(given["--exportProfile"]).write_text(json.dumps(layers))
    return 0


def times(engine: str, *, stuck: bool) -> str:
    """200 runs of 3 ms over 0.6 s, then 100 of 1.00 .. 1.99 ms; the fp16 engine's take twice that."""
    factor = 2.0 if ".fp16." in engine else 1.0
    if os.environ.get("FAKE_SLOW_INT8") and ".int8." in engine:
        factor = 4.0
    runs = [(3.0 * index, 3.0) for index in range(200)]
    runs += [(600.0 + 2 * index, factor * (1.0 + index / 100.0)) for index in range(100)]
    rows = [
        {"startEnqMs": start, "h2dMs": 0, "computeMs": took, "d2hMs": 0, "latencyMs": took}
        for start, took in (runs[:100] if stuck else runs)
    ]
    return json.dumps(rows)


def output(loads: str) -> str:
    """y = 2x of the raw float32 file named in NAME:FILE, in the form of trtexec's --exportOutput."""
    data = Path(loads.rpartition(":")[2]).read_bytes()
    values = [2.0 * value for value in struct.unpack(f"<{len(data) // 4}f", data)]
    if os.environ.get("FAKE_NAN"):
        values[0] = math.nan
    text = ", ".join("nan" if math.isnan(value) else f"{value:.6g}" for value in values)
    return (
        f'[\n  {{ "name" : "y",\n    "dimensions" : "1x{len(values)}",\n    "values" : [ {text} ]\n  }}\n]\n'
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

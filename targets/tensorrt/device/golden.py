"""Runs an engine on the bundle's golden inputs and compares what comes out with the golden outputs."""

import os
import tempfile

import arrays
from engine import is_dynamic, quoted, shapes
from failure import Failure
from trtexec import read_json

# TensorRT reads these ONNX types as the narrower ones (INT64 only below version 10).
NARROWED = {"float64": "float32"}
NARROWED_BEFORE_10 = {"int64": "int32"}


def compare_golden(trtexec, engine, spec, samples):
    """{against: {output: worst figures over the samples}}; `against` is fp32 or reference.

    `samples` are Bundle.golden rows. The reference is the Q/DQ graph in float: only INT8 is held to it.
    """
    worst = {}
    for sample in samples:
        got = run_once(trtexec, engine, spec, read_all(sample["inputs"]))
        for against in ("fp32", "reference"):
            if against not in sample or (against == "reference" and spec["variant"] != "int8"):
                continue
            for name, want in read_all(sample[against]).items():
                if name not in got:
                    raise Failure("the engine has no output %r" % name, "rebuild the engine")
                figures = arrays.compare(got[name], want.values)
                seen = worst.setdefault(against, {}).setdefault(name, figures)
                worst[against][name] = _worse(seen, figures)
    return worst


def read_all(paths):
    """{tensor name: Tensor} of {tensor name: .npy path}."""
    return {name: arrays.read_npy(path) for name, path in paths.items()}


def run_once(trtexec, engine, spec, feeds):
    """{output name: flat values} of one run; inputs go to trtexec as raw files in a fresh folder."""
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        loads = []
        for index, entry in enumerate(spec["inputs"]):
            if entry["name"] not in feeds:
                raise Failure("the golden sample has no input %r" % entry["name"], "copy the bundle again")
            path = os.path.join(folder, "input%d.bin" % index)
            with open(path, "wb") as file:
                file.write(arrays.raw_bytes(feeds[entry["name"]], engine_type(entry["dtype"], trtexec.version)))
            loads.append("%s:%s" % (quoted(entry["name"]), path))
        result = os.path.join(folder, "output.json")
        arguments = ["--loadEngine=" + engine, "--loadInputs=" + ",".join(loads), "--exportOutput=" + result]
        arguments += ["--warmUp=0", "--duration=0", "--iterations=1"]
        arguments += transfer_flags(trtexec)
        if is_dynamic(spec["inputs"]):
            sized = [dict(entry, run=feeds[entry["name"]].shape) for entry in spec["inputs"]]
            arguments.append("--shapes=" + shapes(sized, "run"))
        trtexec.run(arguments)
        return parse_outputs(read_json(result))


def transfer_flags(trtexec):
    """Inputs and outputs must be copied; TensorRT 11 leaves that out unless it is told."""
    if "--dataTransfers" in trtexec.flags:
        return ["--dataTransfers"]
    if trtexec.version[0] >= 11:
        raise Failure(
            "this trtexec has no --dataTransfers, so its outputs may not be the engine's",
            "compare with a trtexec of TensorRT 8 to 10",
        )
    return []


def engine_type(dtype, version):
    """The type an engine's input has where the ONNX file says `dtype`."""
    if version[0] < 10 and dtype in NARROWED_BEFORE_10:
        return NARROWED_BEFORE_10[dtype]
    return NARROWED.get(dtype, dtype)


def parse_outputs(data):
    """{name: values} of trtexec's `[{"name", "dimensions", "values"}, ...]`."""
    broken = Failure("trtexec's output file has an unknown form", "use a trtexec of TensorRT 8.4 or later")
    if not isinstance(data, list):
        raise broken
    found = {}
    for entry in data:
        if not isinstance(entry, dict) or not isinstance(entry.get("values"), list):
            raise broken
        if not all(isinstance(value, (int, float)) for value in entry["values"]):
            raise broken
        found[str(entry.get("name"))] = entry["values"]
    return found


def _worse(left, right):
    """The worse of two samples, figure by figure; sqnr_db None (equal) is the best there is."""
    decibels = [entry["sqnr_db"] for entry in (left, right) if entry["sqnr_db"] is not None]
    return {
        "sqnr_db": min(decibels) if decibels else None,
        "cosine": min(left["cosine"], right["cosine"]),
        "max_abs": max(left["max_abs"], right["max_abs"]),
    }

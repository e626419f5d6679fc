"""Feeds a model the bundle's golden inputs and compares what comes out with the golden outputs."""

import math

import numpy as np

from failure import Failure

MAX_BYTES = 1 << 30
INT32 = np.iinfo(np.int32)


def load_feeds(artifact, sample):
    """{Core ML name: array} of one golden sample, as coremltools wants it (float32 or int32)."""
    return {row.name: as_fed(row, read_array(_path(sample["inputs"], row.source))) for row in artifact.inputs}


def load_states(artifact, sample):
    """{Core ML name: float16 array}, what one golden sample lets each state begin as."""
    return {
        row.name: read_array(_path(sample["inputs"], row.source)).astype(np.float16) for row in artifact.states
    }


def as_fed(row, array):
    """Core ML has no int64 and no rank 0; a float16 input takes float32 numbers from Python."""
    if row.dtype == "image":
        raise Failure(f"input {row.source!r} is an image, which this script does not feed", "compare it in your app")
    if array.dtype.kind in "iub":
        if array.size and (array.min() < INT32.min or array.max() > INT32.max):
            raise Failure(f"input {row.source!r} leaves 32-bit integers", "use other golden data")
        fed = array.astype(np.float32 if row.dtype.startswith("float") else np.int32)
    else:
        fed = array.astype(np.float32)
    return fed.reshape(1) if fed.ndim == 0 else fed


def compare_golden(artifact, samples, run):
    """{(against, output's source name): worst figures over the samples}; `against` is fp32 or reference.

    `run` takes feeds (and states, where there are any) and gives outputs by Core ML name, states among them:
    what a state holds afterwards is the output that it takes over. The reference is the Q/DQ graph: INT8's alone.
    """
    worst = {}
    made = [(row.name, row.source) for row in artifact.outputs]
    made += [(row.name, row.result) for row in artifact.states if row.result]
    for sample in samples:
        states = load_states(artifact, sample)
        got = run(load_feeds(artifact, sample), *([states] if states else []))
        for against in ("fp32", "reference"):
            if against not in sample or (against == "reference" and artifact.variant != "int8"):
                continue
            for name, source in made:
                if name not in got:
                    raise Failure(f"the model gives no output {name!r}", "convert the bundle again")
                figures = compare(np.asarray(got[name]), read_array(_path(sample[against], source)))
                key = (against, source)
                worst[key] = _worse(worst.get(key, figures), figures)
    return worst


def compare(got, want):
    """{"sqnr_db", "cosine", "max_abs"}; sqnr_db None where they are equal.

    sqnr_db is 10 log10(sum want^2 / sum (got - want)^2). NaN or infinity where another number is wanted
    fails: no figure could tell it.
    """
    left, right = got.astype(np.float64).ravel(), want.astype(np.float64).ravel()
    if left.size != right.size:
        raise Failure(f"{left.size} values came out where {right.size} were expected", "convert the bundle again")
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    difference = np.where(same, 0.0, np.subtract(left, right, where=~same, out=np.zeros_like(left)))
    if not np.all(np.isfinite(difference)):
        place = int(np.argmin(np.isfinite(difference)))
        raise Failure(
            f"the model gave {left[place]!r} where {right[place]!r} was expected", "use other compute units or fp32"
        )
    known = np.isfinite(right)
    left, right = left[known], right[known]
    signal, noise = float(right @ right), float(difference @ difference)
    return {
        "sqnr_db": _decibel(signal, noise),
        "cosine": _cosine(float(left @ right), signal, float(left @ left)),
        "max_abs": float(np.max(np.abs(difference), initial=0.0)),
    }


def read_array(path):
    """One .npy file of plain numbers; nothing is unpickled."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if array.nbytes > MAX_BYTES:
            raise Failure(f"{path} is larger than 1 GiB", "use smaller golden data")
        return np.array(array)
    except (OSError, ValueError, EOFError) as error:
        raise Failure(f"{path} cannot be read ({error})", "copy the bundle again")


def _path(paths, name):
    if name not in paths:
        raise Failure(f"the golden sample has no tensor {name!r}", "copy the bundle again")
    return paths[name]


def _worse(left, right):
    """The worse of two samples, figure by figure; sqnr_db None (equal) is the best there is."""
    decibels = [entry["sqnr_db"] for entry in (left, right) if entry["sqnr_db"] is not None]
    return {
        "sqnr_db": min(decibels) if decibels else None,
        "cosine": min(left["cosine"], right["cosine"]),
        "max_abs": max(left["max_abs"], right["max_abs"]),
    }


def _decibel(signal, noise):
    if noise == 0.0:
        return None
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -300.0


def _cosine(dot, signal, energy):
    if signal == 0.0 and energy == 0.0:
        return 1.0
    if signal == 0.0 or energy == 0.0:
        return 0.0
    return max(-1.0, min(1.0, dot / math.sqrt(signal * energy)))

"""Reads .npy without numpy, writes the raw bytes trtexec wants, and compares outputs."""

import array
import ast
import math
import os
import struct

from failure import Failure

MAX_BYTES = 1 << 30
MAX_HEADER = 64 * 1024
# numpy descr -> (name, struct code, bytes)
TYPES = {
    "<f4": ("float32", "f", 4),
    "<f2": ("float16", "e", 2),
    "<f8": ("float64", "d", 8),
    "<i8": ("int64", "q", 8),
    "<i4": ("int32", "i", 4),
    "<i2": ("int16", "h", 2),
    "|i1": ("int8", "b", 1),
    "|u1": ("uint8", "B", 1),
    "|b1": ("bool", "?", 1),
}
CODES = {name: code for name, code, _ in TYPES.values()}


class Tensor:
    """dtype (numpy name), shape and flat values of one array."""

    def __init__(self, dtype, shape, values):
        self.dtype = dtype
        self.shape = tuple(shape)
        self.values = values


def read_npy(path):
    """The Tensor of one .npy file; its size is checked before it is read, nothing is unpickled."""
    try:
        if os.path.getsize(path) > MAX_BYTES:
            raise Failure("%s is larger than 1 GiB" % path, "use smaller golden data")
        with open(path, "rb") as file:
            return parse_npy(file.read(), os.path.basename(path))
    except OSError as error:
        raise Failure("%s cannot be read (%s)" % (path, error.strerror), "copy the bundle again")


def parse_npy(data, where):
    """The Tensor in the bytes of one .npy file (format 1 to 3, C order, plain numbers)."""
    header, offset = _header(data, where)
    descr, shape = header.get("descr"), header.get("shape")
    if descr not in TYPES or header.get("fortran_order") is not False or not _is_shape(shape):
        raise Failure("%s: %r, order or shape is not supported" % (where, descr), "save plain C-order arrays")
    name, code, size = TYPES[descr]
    count = 1
    for dim in shape:
        count *= dim
    if count * size != len(data) - offset:
        raise Failure("%s: the data do not fit the header's shape" % where, "copy the bundle again")
    values = struct.unpack("<%d%s" % (count, code), data[offset:])
    return Tensor(name, shape, values)


def _header(data, where):
    broken = Failure("%s is no .npy file" % where, "copy the bundle again")
    if len(data) < 12 or data[:6] != b"\x93NUMPY":
        raise broken
    width = 2 if data[6] == 1 else 4
    length = int.from_bytes(data[8 : 8 + width], "little")
    if length > MAX_HEADER:
        raise broken
    start = 8 + width
    try:
        header = ast.literal_eval(data[start : start + length].decode("latin1"))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise broken
    if not isinstance(header, dict):
        raise broken
    return header, start + length


def _is_shape(shape):
    if not isinstance(shape, tuple) or len(shape) > 32:
        return False
    return all(type(dim) is int and 0 <= dim <= MAX_BYTES for dim in shape)


def raw_bytes(tensor, dtype):
    """The values as little-endian bytes of `dtype` (numpy name), as trtexec --loadInputs reads them."""
    if dtype not in CODES:
        raise Failure("input type %s cannot be written" % dtype, "use float32 or int32 inputs")
    values = tensor.values
    if dtype.startswith("float"):
        values = [float(value) for value in values]
    elif tensor.dtype.startswith("float"):
        raise Failure("a %s array was given where %s is wanted" % (tensor.dtype, dtype), "mend the golden data")
    try:
        return struct.pack("<%d%s" % (len(values), CODES[dtype]), *values)
    except (struct.error, OverflowError) as error:
        raise Failure("a value does not fit %s (%s)" % (dtype, error), "mend the golden data")


def compare(got, want):
    """{"sqnr_db", "cosine", "max_abs"} of two equally long sequences; sqnr_db None when they are equal.

    sqnr_db is 10 log10(sum want^2 / sum (got-want)^2). Any NaN or infinity in `got` where `want` is
    finite is a failure, not a figure.
    """
    if len(got) != len(want):
        raise Failure("%d values came out where %d were expected" % (len(got), len(want)), "rebuild the engine")
    signal = noise = dot = energy = worst = 0.0
    for left, right in zip(array.array("d", got), array.array("d", want)):
        if left == right:
            difference = 0.0
        else:
            difference = left - right
            if not math.isfinite(difference):
                raise Failure("the engine gave %r where %r was expected" % (left, right), "use another precision")
        if math.isfinite(right):
            signal += right * right
            energy += left * left
            dot += left * right
        noise += difference * difference
        worst = max(worst, abs(difference))
    return {"sqnr_db": _decibel(signal, noise), "cosine": _cosine(dot, signal, energy), "max_abs": worst}


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

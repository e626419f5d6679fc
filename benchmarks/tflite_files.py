"""Looks at any .tflite file through LiteRT's interpreter alone: runs it, times it, counts its operators.

One reader for edgekit's files and its peers', independent of edgekit's own writer and counter.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import interpreter as litert

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

# Operator -> places of its data and its weights among its inputs.
_PRODUCTS = {
    "CONV_2D": (0, 1),
    "DEPTHWISE_CONV_2D": (0, 1),
    "FULLY_CONNECTED": (0, 1),
    "BATCH_MATMUL": (0, 1),
    "TRANSPOSE_CONV": (2, 1),
}


class TFLiteFile:
    """One file in LiteRT with one thread; float feeds and results, whatever the file's own dtypes are."""

    def __init__(self, path: Path, *, delegates: bool = True) -> None:
        kinds = litert.OpResolverType
        self.interpreter: Any = litert.Interpreter(
            model_content=path.read_bytes(),
            num_threads=1,
            experimental_op_resolver_type=kinds.AUTO
            if delegates
            else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=not delegates,
        )
        self.interpreter.allocate_tensors()
        self.inputs = self.interpreter.get_input_details()
        self.outputs = self.interpreter.get_output_details()

    def feed(self, feeds: Arrays, *, moved: bool = False) -> None:
        """Set the inputs; `moved` tries channels last even where the ONNX shape would fit."""
        for number, item in enumerate(self.inputs):
            value = pick_feed(feeds, item["name"], number)
            self.interpreter.set_tensor(item["index"], fit_input(value, item, moved=moved))

    def run(self, feeds: Arrays, *, moved: bool = False) -> list[NDArray[Any]]:
        """One run; quantized outputs are dequantized."""
        self.feed(feeds, moved=moved)
        self.interpreter.invoke()
        return [self._read(item) for item in self.outputs]

    def _read(self, item: dict[str, Any]) -> NDArray[Any]:
        values: NDArray[np.float32] = np.array(self.interpreter.get_tensor(item["index"]))
        scale, zero = item["quantization"]
        if scale and np.issubdtype(values.dtype, np.integer):
            restored: NDArray[np.float32] = ((values.astype(np.float32) - zero) * scale).astype(np.float32)
            return restored
        return values

    def time_invoke(self) -> float:
        """CPU milliseconds of one invoke: what neighbours on the core take is not counted."""
        start = time.process_time()
        self.interpreter.invoke()
        return 1000 * (time.process_time() - start)


def pick_feed(feeds: Arrays, name: str, number: int) -> NDArray[Any]:
    """By name, or by place where the file's names are its own."""
    plain = name.removeprefix("serving_default_").split(":")[0]
    for candidate in (name, plain):
        if candidate in feeds:
            return feeds[candidate]
    return list(feeds.values())[number]


def fit_input(value: NDArray[Any], item: Mapping[str, Any], *, moved: bool = False) -> NDArray[Any]:
    """In the file's layout and dtype; ValueError where no order of the axes has its shape."""
    shape = tuple(int(size) for size in item["shape"])
    orders = [order for order in axis_orders(value.ndim) if value.transpose(order).shape == shape]
    if not orders and same_but_ones(value.shape, shape):
        orders = [tuple(range(value.ndim))]
    if not orders:
        raise ValueError(f"the file takes {list(shape)}, the model {list(value.shape)}")
    laid = value.transpose(orders[1 if moved and len(orders) > 1 else 0])
    scale, zero = item["quantization"]
    if scale and np.issubdtype(item["dtype"], np.integer) and np.issubdtype(value.dtype, np.floating):
        limits = np.iinfo(item["dtype"])
        laid = np.clip(np.rint(laid / scale) + zero, limits.min, limits.max)
    return np.ascontiguousarray(laid.astype(item["dtype"])).reshape(shape)


def axis_orders(rank: int) -> Iterator[tuple[int, ...]]:
    """As it is, channels moved last, channels moved first, then every other order (up to 4 axes)."""
    known = [tuple(range(rank))]
    if rank >= 3:
        known += [(0, *range(2, rank), 1), (0, rank - 1, *range(1, rank - 1))]
    yield from known
    if rank <= 4:
        yield from (order for order in permutations(range(rank)) if order not in known)


def same_but_ones(first: Sequence[int], second: Sequence[int]) -> bool:
    """Whether two shapes differ by dims of 1 alone."""
    return [size for size in first if size != 1] == [size for size in second if size != 1]


def align(got: NDArray[Any], want: NDArray[Any]) -> NDArray[Any] | None:
    """`got` in the axis order nearest to `want`, dims of 1 aside; None where no order has its shape."""
    fitting = [got.transpose(o) for o in axis_orders(got.ndim) if got.transpose(o).shape == want.shape]
    if not fitting and same_but_ones(got.shape, want.shape):
        fitting = [got.reshape(want.shape)]
    if not fitting:
        return None
    with np.errstate(invalid="ignore"):
        errors = [np.nan_to_num(np.abs(item - want), nan=0.0).sum() for item in fitting]
    return fitting[int(np.argmin(errors))]


def time_in_turn(files: Sequence[TFLiteFile], *, rounds: int) -> list[list[float]]:
    """CPU milliseconds of `rounds` invokes of each, one file after the other in every round."""
    for file in files:
        for _ in range(3):
            file.time_invoke()
    times: list[list[float]] = [[] for _ in files]
    for _ in range(rounds):
        for file, found in zip(files, times, strict=True):
            found.append(file.time_invoke())
    return times


def count_operators(path: Path) -> Counter[str]:
    """Operator names as the file holds them, before any delegate takes them over."""
    file = TFLiteFile(path, delegates=False)
    return Counter(str(item["op_name"]) for item in file.interpreter._get_ops_details())


def count_int8_share(path: Path, feeds: Arrays) -> tuple[float, int]:
    """(share of multiply-accumulates whose data and weights are int8, all of them), shapes as they ran."""
    file = TFLiteFile(path, delegates=False)
    file.run(feeds)
    tensors = {item["index"]: item for item in file.interpreter.get_tensor_details()}
    total = int8 = 0
    for item in file.interpreter._get_ops_details():
        if item["op_name"] not in _PRODUCTS:
            continue
        data, weights = (tensors[item["inputs"][place]] for place in _PRODUCTS[item["op_name"]])
        out = tensors[item["outputs"][0]]
        shapes = [tuple(int(size) for size in one["shape"]) for one in (data, weights, out)]
        macs = count_macs(item["op_name"], *shapes)
        total += macs
        int8 += macs if data["dtype"] == weights["dtype"] == np.int8 else 0
    return (int8 / total if total else 0.0), total


def count_macs(op: str, data: Sequence[int], weights: Sequence[int], out: Sequence[int]) -> int:
    """Multiply-accumulates of one operator, from LiteRT's definition of it."""
    if op == "CONV_2D":  # weights: O, H, W, I
        return math.prod(out) * math.prod(weights[1:])
    if op == "DEPTHWISE_CONV_2D":  # 1, H, W, C
        return math.prod(out) * math.prod(weights[1:3])
    if op == "TRANSPOSE_CONV":  # O, H, W, I
        return math.prod(data) * math.prod(weights[:3])
    if op == "FULLY_CONNECTED":  # O, I
        return math.prod(out) * weights[-1]
    # M x K, K x N, M x N, any of the first two transposed
    depth = math.isqrt(math.prod(data[-2:]) * math.prod(weights[-2:]) // math.prod(out[-2:]))
    return math.prod(out) * depth


def measure_distance(file: TFLiteFile, feeds: Sequence[Arrays], truth: Sequence[Arrays]) -> dict[str, float]:
    """relative: the largest error over the largest true value; sqnr in dB; the worst output of each.

    ValueError where an output has another shape than the truth in every order of its axes.
    """
    names = list(truth[0])
    pairs: list[list[tuple[Any, Any]]] = [[] for _ in names]
    places = [place_output(item["name"], number, names) for number, item in enumerate(file.outputs)]
    for feed, wanted in zip(feeds, truth, strict=True):
        for place, result in zip(places, file.run(feed), strict=True):
            want = np.asarray(wanted[names[place]], np.float64)
            got = align(result.astype(np.float64), want)
            if got is None:
                raise ValueError(f"output {names[place]} is {list(result.shape)}, not {list(want.shape)}")
            pairs[place].append((got, want))
    return {
        "relative": max(_relative(found) for found in pairs if found),
        "sqnr": min(_sqnr(found) for found in pairs if found),
    }


def place_output(name: str, number: int, names: Sequence[str]) -> int:
    """By name, or by place where the file's names are its own."""
    return names.index(name) if name in names else number


def _relative(pairs: Sequence[tuple[Any, Any]]) -> float:
    worst = max(float(np.abs(got - want).max()) for got, want in pairs)
    return worst / max(float(np.abs(want).max()) for _, want in pairs)


def _sqnr(pairs: Sequence[tuple[Any, Any]]) -> float:
    noise = sum(float(np.square(got - want).sum()) for got, want in pairs)
    signal = sum(float(np.square(want).sum()) for _, want in pairs)
    return 10 * math.log10(signal / noise) if noise else math.inf

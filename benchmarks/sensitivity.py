"""What each layer's sensitivity costs beside calibration on a deep CNN, as `--precision auto` runs both.

    python -m benchmarks.sensitivity [--layers 100] [--samples 64]

A residual network of 3x3 convolutions with seeded random weights, so this is a figure of time alone. The
search is asked for no loss at all, comes to choosing layers, and is stopped once their prices are known. A
process of its own on one core; user CPU seconds. `plain` is one float pass over the samples in ONNX Runtime.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measure import Jobs, print_table, run_job, serve_job

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "benchmarks.sensitivity"
WIDTH, SIZE, CLASSES = 32, 64, 1000


class _EnoughError(Exception):
    """The layers' prices are known; what the search would do with them is not asked."""


def write_network(path: Path, layers: int) -> None:
    """A stem, residual pairs of convolutions with Relu, halved in size every third of the way, and a Gemm."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights: dict[str, Any] = {}

    def conv(name: str, source: str, channels: int, stride: int = 1, gain: float = 1) -> onnx.NodeProto:
        reach = gain * np.sqrt(2 / (9 * channels))
        weights[f"{name}.w"] = (rng.standard_normal((WIDTH, channels, 3, 3)) * reach).astype(np.float32)
        weights[f"{name}.b"] = np.zeros(WIDTH, np.float32)
        inputs = [source, f"{name}.w", f"{name}.b"]
        return helper.make_node("Conv", inputs, [name], name, pads=[1] * 4, strides=[stride] * 2)

    nodes = [conv("conv0", "x", 3), helper.make_node("Relu", ["conv0"], ["r0"], "relu0")]
    source, made = "r0", 1
    while made < layers - 1:
        stride = 2 if made in (layers // 3 | 1, 2 * layers // 3 | 1) else 1
        nodes.append(conv(f"conv{made}", source, WIDTH, stride))
        made += 1
        if stride == 2:
            source = f"r{made}"
            nodes.append(helper.make_node("Relu", [f"conv{made - 1}"], [source], f"relu{made}"))
            continue
        nodes.append(helper.make_node("Relu", [f"conv{made - 1}"], [f"m{made}"], f"middle{made}"))
        nodes.append(conv(f"conv{made}", f"m{made}", WIDTH, gain=0.2))  # a sum of many stays in range
        nodes.append(helper.make_node("Add", [source, f"conv{made}"], [f"s{made}"], f"add{made}"))
        source = f"r{made + 1}"
        nodes.append(helper.make_node("Relu", [f"s{made}"], [source], f"relu{made + 1}"))
        made += 1
    weights["fc"] = rng.standard_normal((WIDTH, CLASSES)).astype(np.float32)
    nodes += [
        helper.make_node("GlobalAveragePool", [source], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "fc"], ["y"], "fc"),
    ]
    graph = helper.make_graph(
        nodes,
        "deep",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def write_samples(folder: Path, count: int) -> None:
    """Smooth seeded noise."""
    import numpy as np

    folder.mkdir()
    rng = np.random.default_rng(1)
    for index in range(count):
        coarse = rng.standard_normal((1, 3, SIZE // 8, SIZE // 8)).repeat(8, 2).repeat(8, 3)
        noisy = coarse + 0.1 * rng.standard_normal((1, 3, SIZE, SIZE))
        np.savez(folder / f"{index:04d}.npz", allow_pickle=False, x=noisy.astype(np.float32))


def measure(work: str) -> dict[str, float]:
    """User CPU seconds of a plain pass, of calibration and of sensitivity, and how many tensors it priced."""
    import edgekit
    from benchmarks.peers import load_feed, open_reference
    from edgekit._calibrate import calibrate_component
    from edgekit._search import measure_sensitivity, search_mix

    spent: dict[str, float] = {}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            start = read_user()
            result = function(*given, **named)
            spent[name] = spent.get(name, 0.0) + read_user() - start
            return result

        return run

    def run_plain() -> None:
        session = open_reference(Path(work) / "deep.onnx")
        for file in sorted((Path(work) / "data").glob("*.npz")):
            session.run(None, load_feed(file))

    def price(*given: Any) -> Any:
        layers = timed("sensitivity", measure_sensitivity)(*given)
        spent["tensors"], spent["samples each"] = len(layers), len(given[2])
        raise _EnoughError

    timed("plain", run_plain)()
    calibrate = timed("calibration", calibrate_component)
    with (
        patch("edgekit._workshop.calibrate_component", calibrate),
        patch.object(sys.modules[search_mix.__module__], "measure_sensitivity", price),
        suppress(_EnoughError),
    ):
        edgekit.convert(
            Path(work) / "deep.onnx",
            targets="jetson-orin",
            samples=Path(work) / "data",
            max_drop=0.0,
            metric="cosine",  # no rounding leaves it at 1
            output=Path(work) / "out",
            cache="off",
        )
    return spent


def read_user() -> float:
    """User CPU seconds of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


JOBS: Jobs = {"measure": measure}


def main() -> None:
    """Write the network and its samples, measure, print one table."""
    if serve_job(JOBS):
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--layers", type=int, default=100)
    parser.add_argument("--samples", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        write_network(Path(work) / "deep.onnx", options.layers)
        write_samples(Path(work) / "data", options.samples)
        cost = run_job(NAME, "measure", work)
    found = cost.result
    if "sensitivity" not in found:
        raise SystemExit("the search did not come to choosing layers: INT8 lost nothing on these samples")
    rows = [
        [name, found[name], found[name] / found["calibration"]]
        for name in ("plain", "calibration", "sensitivity")
    ]
    print_table(f"{options.layers} layers, {options.samples} samples", ["", "user s", "of calibration"], rows)
    priced = f"{found['tensors']:.0f} tensors priced, on {found['samples each']:.0f} of the samples each"
    print(f"{priced}; peak {cost.peak_mb:.0f} MB")


if __name__ == "__main__":
    main()

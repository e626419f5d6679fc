"""A decoder of 2 billion seeded random weights to int4: user CPU, peak memory and size, one convert.

    python -m benchmarks.decoder_weights [--layers 28] [--keep DIR]        (about 15 minutes, 20 GB of disk)

Shapes as of a Qwen3 of that size: hidden 2048, 28 layers, 16 heads on 8 key-value heads of 128, inner 6144,
vocabulary 151,936, head and embedding apart; 16 tokens at once. The float32 file (8.1 GB of external data)
is written here a tensor at a time. Random weights: speed and memory, never an accuracy figure.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Jobs, print_table, run_job, serve_job

if TYPE_CHECKING:
    from typing import BinaryIO

    import numpy as np
    import onnx

NAME = "benchmarks.decoder_weights"
TOKENS = 16


@dataclass(frozen=True)
class Sizes:
    """Of a decoder; a small one is for a test of this script."""

    layers: int = 28
    hidden: int = 2048
    heads: int = 16
    groups: int = 8
    head: int = 128
    inner: int = 6144
    words: int = 151_936


class DecoderFile:
    """Writes the graph and, as they come, the weights of a decoder."""

    def __init__(self, sizes: Sizes, data: BinaryIO, name: str) -> None:
        import numpy as np

        self.sizes, self.data, self.name = sizes, data, name
        self.rng = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}

    def op(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        """A node; the name of its result."""
        from onnx import helper

        name = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def small(self, name: str, array: np.ndarray) -> str:
        """A constant inside the graph."""
        from onnx import numpy_helper

        self.weights[name] = numpy_helper.from_array(array, name)
        return name

    def ints(self, *values: int) -> str:
        """A constant of shapes and axes."""
        import numpy as np

        return self.small(f"ints_{'_'.join(map(str, values))}", np.array(values, np.int64))

    def matrix(self, name: str, rows: int, columns: int) -> str:
        """Normal weights of variance 1/rows, written behind what is in the data file already."""
        import numpy as np
        from onnx import TensorProto

        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[rows, columns])
        tensor.data_location = TensorProto.EXTERNAL
        start = self.data.tell()
        for first in range(0, rows, 4096):
            part = self.rng.standard_normal((min(4096, rows - first), columns), np.float32)
            self.data.write((part * np.float32(rows**-0.5)).tobytes())
        place = {"location": self.name, "offset": start, "length": self.data.tell() - start}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        self.weights[name] = tensor
        return name

    def norm(self, x: str, name: str, size: int) -> str:
        """RMSNorm over the last axis."""
        import numpy as np

        square = self.op("ReduceMean", [self.op("Mul", [x, x]), self.ints(-1)], keepdims=1)
        root = self.op("Sqrt", [self.op("Add", [square, self.small("eps", np.array(1e-6, np.float32))])])
        scale = self.small(name, self.rng.uniform(0.8, 1.2, size).astype(np.float32))
        return self.op("Mul", [self.op("Div", [x, root]), scale])

    def turned(self, x: str) -> str:
        """Rotary position embedding of [1, heads, tokens, head]."""
        low = self.op("Slice", [x, self.ints(0), self.ints(self.sizes.head // 2), self.ints(3)])
        high = self.op(
            "Slice", [x, self.ints(self.sizes.head // 2), self.ints(self.sizes.head), self.ints(3)]
        )
        crossed = self.op("Concat", [self.op("Neg", [high]), low], axis=3)
        return self.op("Add", [self.op("Mul", [x, "cos"]), self.op("Mul", [crossed, "sin"])])

    def constants(self) -> None:
        """Positions and the causal mask."""
        import numpy as np

        half = self.sizes.head // 2
        angles = np.arange(TOKENS)[:, None] * 1e6 ** (-np.arange(half) / half)
        angles = np.concatenate([angles, angles], axis=1).astype(np.float32)
        self.small("cos", np.cos(angles))
        self.small("sin", np.sin(angles))
        self.small("mask", np.triu(np.full((TOKENS, TOKENS), -1e4, np.float32), 1))
        self.small("scale", np.array(self.sizes.head**-0.5, np.float32))

    def heads(self, x: str, count: int) -> str:
        """[1, tokens, count * head] -> [1, count, tokens, head]."""
        return self.op(
            "Transpose",
            [self.op("Reshape", [x, self.ints(1, TOKENS, count, self.sizes.head)])],
            perm=[0, 2, 1, 3],
        )

    def attention(self, x: str, name: str) -> str:
        """Grouped attention with RMSNorm on queries and keys."""
        s = self.sizes
        wide, narrow = s.heads * s.head, s.groups * s.head
        q, k, v = (
            self.op("MatMul", [x, self.matrix(f"{name}.{part}", s.hidden, size)])
            for part, size in (("q", wide), ("k", narrow), ("v", narrow))
        )
        queries = self.turned(self.norm(self.heads(q, s.heads), f"{name}.q_norm", s.head))
        keys = self.turned(self.norm(self.heads(k, s.groups), f"{name}.k_norm", s.head))
        spread = (self.spread(keys), self.spread(self.heads(v, s.groups)))
        scores = self.op("MatMul", [queries, self.op("Transpose", [spread[0]], perm=[0, 1, 3, 2])])
        masked = self.op("Add", [self.op("Mul", [scores, "scale"]), "mask"])
        mixed = self.op("MatMul", [self.op("Softmax", [masked], axis=-1), spread[1]])
        flat = self.op(
            "Reshape", [self.op("Transpose", [mixed], perm=[0, 2, 1, 3]), self.ints(1, TOKENS, wide)]
        )
        return self.op("MatMul", [flat, self.matrix(f"{name}.o", wide, s.hidden)])

    def spread(self, x: str) -> str:
        """Each key-value head for as many query heads as share it."""
        s = self.sizes
        shared = s.heads // s.groups
        five = self.op("Reshape", [x, self.ints(1, s.groups, 1, TOKENS, s.head)])
        wide = self.op("Expand", [five, self.ints(1, s.groups, shared, TOKENS, s.head)])
        return self.op("Reshape", [wide, self.ints(1, s.heads, TOKENS, s.head)])

    def feed_forward(self, x: str, name: str) -> str:
        """SwiGLU."""
        s = self.sizes
        gate, up = (
            self.op("MatMul", [x, self.matrix(f"{name}.{part}", s.hidden, s.inner)])
            for part in ("gate", "up")
        )
        silu = self.op("Mul", [gate, self.op("Sigmoid", [gate])])
        return self.op("MatMul", [self.op("Mul", [silu, up]), self.matrix(f"{name}.down", s.inner, s.hidden)])

    def model(self) -> onnx.ModelProto:
        """All layers, in order."""
        from onnx import TensorProto, helper

        s = self.sizes
        self.constants()
        x = self.op("Gather", [self.matrix("embedding", s.words, s.hidden), "ids"])
        for layer in range(s.layers):
            name = f"layers.{layer}"
            x = self.op("Add", [x, self.attention(self.norm(x, f"{name}.norm1", s.hidden), name)])
            x = self.op("Add", [x, self.feed_forward(self.norm(x, f"{name}.norm2", s.hidden), name)])
        self.op("MatMul", [self.norm(x, "norm", s.hidden), self.matrix("head", s.hidden, s.words)], "logits")
        given = helper.make_tensor_value_info("ids", TensorProto.INT64, [1, TOKENS])
        out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, TOKENS, s.words])
        graph = helper.make_graph(self.nodes, "decoder", [given], [out], list(self.weights.values()))
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def write_decoder(path: Path, sizes: Sizes) -> None:
    """`path` and `path.data`; memory stays below a few tensors' parts."""
    import onnx

    with path.with_name(f"{path.name}.data").open("wb") as data:
        model = DecoderFile(sizes, data, f"{path.name}.data").model()
    onnx.save(model, path)


def write(work: str, layers: str) -> int:
    """The source file; its bytes."""
    path = Path(work) / "decoder.onnx"
    if not path.exists():
        write_decoder(path, Sizes(layers=int(layers)))
    return path.with_name("decoder.onnx.data").stat().st_size


def convert(work: str) -> dict[str, Any]:
    """One convert to ort-mobile in w4; sizes, proof and the stages' times."""
    import time

    import edgekit

    started, stages = time.process_time(), list[tuple[str, float]]()

    def heard(stage: str, done: int, total: int | None) -> None:
        stages.append((stage, time.process_time() - started))
        print(f"{stages[-1][1]:8.1f} s CPU  {stage} {done}/{total}", file=sys.stderr, flush=True)

    result = edgekit.convert(
        Path(work) / "decoder.onnx",
        targets="ort-mobile",
        precisions="w4",
        golden_count=1,
        output=Path(work) / "out",
        cache="off",
        overwrite=True,
        progress=heard,
    )
    (bundle,) = result.bundles
    (artifact,) = bundle.artifacts
    sizes = {name: (bundle.folder / name).stat().st_size for name in artifact.loaded}
    (parity,) = bundle.parities
    return {
        "files": sizes,
        "notes": artifact.notes,
        "status": parity.status,
        "db": [item.sqnr_db for item in parity.against_fp32],
        "passed": bundle.passed,
    }


JOBS: Jobs = {"write": write, "convert": convert}


def main() -> None:
    """Parse the command line and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", default=28, type=int)
    parser.add_argument("--keep", help="write the source here and keep it")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = chosen.keep or scratch
        Path(work).mkdir(parents=True, exist_ok=True)
        written = run_job(NAME, "write", work, chosen.layers)
        made = run_job(NAME, "convert", work)
    rows = [
        ["write fp32", written.result / 1e9, written.user_s, written.system_s, written.peak_mb],
        [
            "convert to int4",
            sum(made.result["files"].values()) / 1e9,
            made.user_s,
            made.system_s,
            made.peak_mb,
        ],
    ]
    print_table("decoder", ["step", "GB on disk", "user CPU s", "system CPU s", "peak MB"], rows)
    print(json.dumps(made.result, indent=1))


if __name__ == "__main__" and not serve_job(JOBS):
    main()

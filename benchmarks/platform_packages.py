"""What packaging costs beside a plain copy and sha256 of the same bundle of 100 MB, for every form.

python -m benchmarks.platform_packages     (about a minute, 1 GB of disk for a while)
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import Jobs, print_table, run_job, serve_job

NAME = "benchmarks.platform_packages"
PLAIN = "plain"
REPEATS = 3
# Weights of one fp32 variant: 25 matrices of 1024x1024, so that every form carries all of them.
LAYERS, WIDTH = 25, 1024


def make_bundle(work: str) -> str:
    """An fp32 bundle for Jetson of a picture model of 105 MB, one ONNX file; its folder."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    import edgekit

    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.normal(0, 0.3, (WIDTH, 3, 7, 7)).astype(np.float32), "stem")]
    nodes = [
        helper.make_node("Conv", ["x", "stem"], ["c"], name="stem", strides=[16, 16]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["h0"], name="flatten"),
    ]
    for layer in range(LAYERS):
        matrix = rng.normal(0, 0.04, (WIDTH, WIDTH)).astype(np.float32)
        weights.append(numpy_helper.from_array(matrix, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [f"h{layer}", f"w{layer}"], [f"m{layer}"], name=f"m{layer}"))
        nodes.append(helper.make_node("Relu", [f"m{layer}"], [f"h{layer + 1}"], name=f"r{layer}"))
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 224, 224])],
        [helper.make_tensor_value_info(f"h{LAYERS}", TensorProto.FLOAT, [1, WIDTH])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    save(model, f"{work}/large.onnx")
    made = edgekit.convert(
        f"{work}/large.onnx", targets="jetson-orin", precisions="fp32", samples="random", output=f"{work}/out"
    )
    return str(made.bundles[0].folder)


def copy_and_hash(bundle: str, out: str) -> None:
    """What nobody can do without: every file read, hashed and written once."""
    import hashlib

    for file in sorted(Path(bundle).rglob("*")):
        if not file.is_file():
            continue
        place = Path(out) / file.relative_to(bundle)
        place.parent.mkdir(parents=True, exist_ok=True)
        with file.open("rb") as opened:
            hashlib.file_digest(opened, "sha256")
        shutil.copyfile(file, place)


def package(bundle: str, form: str, out: str) -> dict[str, float]:
    """Wall and CPU seconds of one package, imports included; `form` may name a container after a colon."""
    wall, cpu = time.perf_counter(), time.process_time()
    if form == PLAIN:
        copy_and_hash(bundle, out)
    else:
        import edgekit

        name, _, container = form.partition(":")
        words: Any = {"container": container} if container else {}
        edgekit.package(bundle, name, out, **words)
    spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    size = sum(file.stat().st_size for file in Path(out).rglob("*") if file.is_file())
    return {**spent, "mb": size / 1e6}


JOBS: Jobs = {"make_bundle": make_bundle, "package": package}


def main() -> None:
    """Print the table: every form beside the plain copy, each in a process of its own."""
    from edgekit._package import FORMATS

    forms = [PLAIN, *sorted(FORMATS), "sagemaker:multi", "sagemaker:triton"]
    best: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as work:
        bundle = run_job(NAME, "make_bundle", work).result
        # In turns, so that a neighbour's load falls on all alike.
        for _ in range(REPEATS):
            for form in forms:
                out = f"{work}/package"
                cost = run_job(NAME, "package", bundle, form, out)
                shutil.rmtree(out)
                found = {**cost.result, "peak": cost.peak_mb}
                kept = best.get(form, found)
                best[form] = {name: min(kept[name], found[name]) for name in found}
    base = best[PLAIN]
    rows = [
        [
            "copy and sha256" if form == PLAIN else form,
            f"{row['mb']:.1f}",
            f"{row['wall']:.2f}",
            f"{row['cpu']:.2f}",
            "" if form == PLAIN else f"{row['wall'] - base['wall']:+.2f}",
            "" if form == PLAIN else f"{row['cpu'] - base['cpu']:+.2f}",
            f"{row['peak']:.0f}",
        ]
        for form, row in best.items()
    ]
    header = ["form", "MB written", "wall s", "CPU s", "wall added", "CPU added", "peak MB"]
    print_table(f"Packaging, best of {REPEATS} in turns", header, rows)


if __name__ == "__main__":
    if not serve_job(JOBS):
        main()
